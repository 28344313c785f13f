"""Vector instructions in functions compiled by numba: what their intrinsics have in common.

LLVM does not find register-blocked forms in scalar loops, so the innermost steps are written as operations on vectors,
which LLVM lowers to what the machine has. Numba's cache of a compiled function does not notice a change of this file.
"""

from llvmlite import ir
from numba.core import cgutils
from numba.core.registry import cpu_target


def vector_registers(triple: str, features: str) -> tuple[int, int]:
    """How many vector registers a machine has, and the bytes of each; told as LLVM tells them to numba.

    Args:
        triple: the kind of machine, "x86_64-unknown-linux-gnu".
        features: what the processor can and cannot do, "+avx2,-avx512f".
    """
    if triple.startswith(("aarch64", "arm64")):
        return 32, 16  # NEON, which all of them have
    if "+avx512f" in features.split(","):
        return 32, 64
    return 16, 32 if "+avx2" in features.split(",") else 16


# Of the machine that numba compiles for: the user may choose another than this one (NUMBA_CPU_FEATURES).
_triple, _, _features = cpu_target.target_context.codegen().magic_tuple()
REGISTERS, VECTOR_BYTES = vector_registers(_triple, _features)


class VectorCode:
    """Generates loads, stores and multiply-adds on rows of C-contiguous numba arrays, so many bytes at a time.

    A vector longer than a register takes several of them.
    """

    def __init__(self, context, builder, dtype, vector_bytes):
        self.context, self.builder = context, builder
        self.bytes = dtype.bitwidth // 8
        self.type = ir.VectorType(context.get_value_type(dtype), vector_bytes // self.bytes)

    def array(self, array_type, value):
        """Address function of an array: at(i, j, ...) is a pointer to that element."""
        array = self.context.make_array(array_type)(self.context, self.builder, value)
        sizes = cgutils.unpack_tuple(self.builder, array.shape)

        def at(*index):
            flat = index[0]
            for size, i in zip(sizes[1:], index[1:], strict=True):
                flat = self.builder.add(self.builder.mul(flat, size), i)
            return self.builder.gep(array.data, [flat])

        return at, sizes

    def places(self, first, count, step=1):
        """``count`` indices from ``first`` on."""
        return [self.builder.add(first, ir.Constant(first.type, step * i)) for i in range(count)]

    def row(self, at, position):
        """The row number, stored as int32, at a position of a list of rows."""
        return self.builder.zext(self.builder.load(at(position)), ir.IntType(64))

    def load(self, pointer):
        return self.builder.load(self.builder.bitcast(pointer, self.type.as_pointer()), align=self.bytes)

    def store(self, vector, pointer):
        self.builder.store(vector, self.builder.bitcast(pointer, self.type.as_pointer()), align=self.bytes)

    def constant(self, number):
        return ir.Constant(self.type, [float(number)] * self.type.count)

    def splat(self, scalar):
        """A vector that holds one number in all lanes."""
        undefined, zero = ir.Constant(self.type, ir.Undefined), ir.Constant(ir.IntType(32), 0)
        first = self.builder.insert_element(undefined, scalar, zero)
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.type.count), None)
        return self.builder.shuffle_vector(first, undefined, lanes)

    def fused(self, a, b, c):
        """a * b + c, rounded once where the machine can."""
        return self.builder.fadd(self.builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))

    def add_product(self, total, pointer_to_scalar, vector):
        """total += scalar * vector, total being a variable that LLVM keeps in a register."""
        self.add_to(total, self.splat(self.builder.load(pointer_to_scalar)), vector)

    def add_to(self, total, a, b):
        """total += a * b of two vectors."""
        self.builder.store(self.fused(a, b, self.builder.load(total)), total)

    def variable(self, vector):
        total = cgutils.alloca_once(self.builder, self.type)
        self.builder.store(vector, total)
        return total

    def lane_sums(self, vectors):
        """The sums over the lanes of two, four ... vectors, as one short vector."""
        known, lanes = 1, self.type.count  # different sums in each group of so many lanes
        while len(vectors) > 1:
            groups = range(0, lanes, 2 * known)
            first = [start + side + i for start in groups for side in (0, lanes) for i in range(known)]
            second = [lane + known for lane in first]
            vectors = [self._added(a, b, first, second) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
            known *= 2
        (total,) = vectors
        while lanes > known:
            lanes //= 2
            total = self._added(total, total, range(lanes), range(lanes, 2 * lanes))
        return total

    def _added(self, a, b, first, second):
        """Two selections of the lanes of a and b, added."""
        masks = [ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes)) for lanes in (first, second)]
        return self.builder.fadd(*[self.builder.shuffle_vector(a, b, mask) for mask in masks])
