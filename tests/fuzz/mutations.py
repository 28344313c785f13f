"""Changes to a valid file that break readers: edge values for its numbers, lines and chunks moved, bytes flipped."""

import re
from collections.abc import Sequence
from random import Random

LARGEST = 1 << 16  # bytes of a changed file

INTEGERS = (0, 1, 2, 3, 127, 128, 255, 256, 300, 65535, 65536)
INTEGERS += tuple(2**power + shift for power in (24, 31, 32, 40, 63, 64) for shift in (-1, 0))
WORDS = [str(sign * number).encode() for number in INTEGERS for sign in (1, -1)]
WORDS += [b"nan", b"-inf", b"NaN", b"Infinity", b"1e400", b"1e308", b"1e-400", b"0.5", b"1e5", b"9" * 30, b"9" * 5000]
WORDS += [
    b"",
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'""',
    b'"a"',
    b"[[1]]",
    b"[1.5]",
    b'"\\ud800"',
    b"vertex",
    b"face",
    b"x",
]
# Between any two bytes: what text may not hold, what tables are made of, and nesting too deep for a parser.
STRAYS = [
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xc2\x85",
    b"\r",
    b"\n",
    b",",
    b'"',
    b"\t",
    b" ",
    b"/",
    b"../",
    b"\x1b",
    b"e",
]
STRAYS += [b"[" * 3000, b'{"a":' * 3000, b"(" * 500, b"\n" * 300, b"1," * 2000, b"a" * 300, b"0 " * 600]
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
WORD = re.compile(rb"[\w.+-]+")


def mutate(data: bytes, random: Random, others: Sequence[bytes] = ()) -> bytes:
    """A changed copy of a file, no longer than LARGEST.

    Args:
        random: says what is changed, and how.
        others: files that parts may be taken from.
    """
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 5))):
        change = random.choice(CHANGES)
        data = splice(data, random, others or (data,)) if change is splice else change(data, random)
    return data[:LARGEST]


def number(data: bytes, random: Random) -> bytes:
    return _replaced(data, NUMBER, random)


def word(data: bytes, random: Random) -> bytes:
    return _replaced(data, WORD, random)


def binary_number(data: bytes, random: Random) -> bytes:
    width = random.choice((1, 2, 4, 8))
    value = random.choice(INTEGERS) * random.choice((1, -1)) % 256**width
    at = _place(data, random)
    return data[:at] + value.to_bytes(width, random.choice(("little", "big"))) + data[at + width :]


def header_number(data: bytes, random: Random) -> bytes:
    """A binary number among the first bytes, where formats keep their counts."""
    head = min(len(data), 400)
    return binary_number(data[:head], random) + data[head:]


def flip(data: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + bytes(byte ^ 1 << random.randrange(8) for byte in data[at : at + 1]) + data[at + 1 :]


def byte(data: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + bytes([random.randrange(256)]) + data[at + 1 :]


def stray(data: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + random.choice(STRAYS) + data[at:]


def truncate(data: bytes, random: Random) -> bytes:
    return data[: _place(data, random)]


def delete(data: bytes, random: Random) -> bytes:
    start, end = _chunk(data, random)
    return data[:start] + data[end:]


def double(data: bytes, random: Random) -> bytes:
    start, end = _chunk(data, random)
    return data[:end] + data[start:end] * random.choice((1, 1, 2, 50)) + data[end:]


def swap(data: bytes, random: Random) -> bytes:
    a, b, c = sorted(_place(data, random) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def lines(data: bytes, random: Random) -> bytes:
    """One line deleted, doubled, moved, or its words out of order."""
    rows = data.splitlines(keepends=True) or [b""]
    row = rows.pop(random.randrange(len(rows)))
    at = random.randrange(len(rows) + 1)
    shuffled = row.split(b" ")
    random.shuffle(shuffled)
    rows[at:at] = random.choice(([], [row], [row, row], [b" ".join(shuffled)]))
    return b"".join(rows)


def splice(data: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    other = random.choice(list(others))
    return data[: _place(data, random)] + other[_place(other, random) :]


CHANGES = (number, number, word, binary_number, header_number, flip, byte, stray, truncate, delete, double, swap, lines)
CHANGES += (splice,)


def _replaced(data: bytes, pattern: re.Pattern, random: Random) -> bytes:
    found = list(pattern.finditer(data))
    if not found:
        return stray(data, random)
    match = random.choice(found)
    new = random.choice((random.choice(WORDS), random.choice(found)[0]))
    return data[: match.start()] + new + data[match.end() :]


def _place(data: bytes, random: Random) -> int:
    return random.randrange(len(data) + 1)


def _chunk(data: bytes, random: Random) -> tuple[int, int]:
    start = _place(data, random)
    return start, min(start + random.choice((1, 2, 4, 8, 30, 200)), len(data))
