"""What docs/own_scans.md says of a message of the kit is of one that the kit has."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "own_scans.md"
GAP = "…"  # in the page, where a message has something of the file


def quoted() -> list[str]:
    """The messages of the table, first column."""
    table = PAGE.read_text(encoding="utf-8").split("| it says | do |")[1]
    cells = re.findall(r"^\|(.+?)\|", table, flags=re.M)
    return [message for cell in cells for message in re.findall(r'"(.+?)"', cell)]


@cache
def texts() -> tuple[str, ...]:
    """Every text in the kit's code, with a gap for each value in it."""
    found = []
    for path in (ROOT / "otoc_lib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else GAP for part in node.values)
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return tuple(found)


def test_there_are_messages_and_no_two_alike():
    assert len(quoted()) > 15 and len(set(quoted())) == len(quoted())


@pytest.mark.parametrize("message", quoted())
def test_a_message_that_is_explained_is_one_of_the_kits(message):
    pattern = ".*".join(map(re.escape, message.split(GAP)))
    assert any(re.search(pattern, text, flags=re.S) for text in texts())
