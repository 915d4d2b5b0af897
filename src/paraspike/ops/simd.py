"""Vectors of lanes inside Numba kernels: loads, stores and arithmetic that stay in registers.

Numba's loops over arrays go through memory at every step and often stay scalar, because LLVM cannot
prove that the arrays do not overlap. A `Vec` is one value: LLVM keeps it in one register or several
(AVX-512, AVX2 and NEON alike), and each lane rounds as a scalar would, so bits do not depend on width.
"""

import operator

from llvmlite import ir
from numba import types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic

from paraspike.ops.vec import Vec, bytes_of, call, overloaded, pointer, spread

# Lanes of the vectors that walk over neurons; spikes of as many neurons make one word of bits.
LANES = 16


def _loader(lanes):
    @intrinsic
    def load(context, array, index):
        kind = Vec(array.dtype, lanes)

        def code(context, builder, signature_, args):
            address = pointer(context, builder, signature_, args, context.get_value_type(kind))
            return builder.load(address, align=bytes_of(kind))

        return kind(array, index), code

    return load


def _splatter(lanes):
    @intrinsic
    def splat(context, value):
        kind = Vec(value, lanes)
        return kind(value), lambda context, builder, _, args: spread(
            context, builder, kind, args[0]
        )

    return splat


load, load32, load64, load128 = _loader(LANES), _loader(32), _loader(64), _loader(128)
splat, splat32, splat64, splat128 = (
    _splatter(LANES),
    _splatter(32),
    _splatter(64),
    _splatter(128),
)


@intrinsic
def store(context, array, index, value):
    """array[index : index + lanes] = value, for a C-contiguous 1-D array."""

    def code(context, builder, signature_, args):
        address = pointer(context, builder, signature_, args, args[2].type)
        builder.store(args[2], address, align=bytes_of(value))
        return context.get_dummy_value()

    return types.void(array, index, value), code


@intrinsic
def load_some(context, array, index, mask):
    """As `load`, touching memory in the mask's lanes only; the others are zero."""
    kind = Vec(array.dtype, mask.lanes)

    def code(context, builder, signature_, args):
        vector = context.get_value_type(kind)
        address = pointer(context, builder, signature_, args, vector)
        align = ir.Constant(ir.IntType(32), bytes_of(kind))
        name = overloaded("masked.load", kind) + ".p0"
        zero = ir.Constant(vector, None)
        return call(context, builder, name, vector, [address, align, args[2], zero])

    return kind(array, index, mask), code


@intrinsic
def store_some(context, array, index, value, mask):
    """As `store`, in the mask's lanes only."""

    def code(context, builder, signature_, args):
        address = pointer(context, builder, signature_, args, args[2].type)
        align = ir.Constant(ir.IntType(32), bytes_of(value))
        name = overloaded("masked.store", value) + ".p0"
        call(context, builder, name, ir.VoidType(), [args[2], address, align, args[3]])
        return context.get_dummy_value()

    return types.void(array, index, value, mask), code


def _prefetcher(writes):
    @intrinsic
    def prefetch(context, array, index):
        def code(context, builder, signature_, args):
            address = pointer(context, builder, signature_, args, ir.IntType(8))
            # Into the second-level cache, data.
            hints = [ir.Constant(ir.IntType(32), hint) for hint in (writes, 2, 1)]
            call(context, builder, "llvm.prefetch.p0", ir.VoidType(), [address, *hints])
            return context.get_dummy_value()

        return types.void(array, index), code

    return prefetch


# Ask for the cache line of array[index], which need not exist, to be read or written.
prefetch, prefetch_to_write = _prefetcher(0), _prefetcher(1)


@intrinsic
def fma(context, a, b, c):
    """a b + c, rounded once."""

    def code(context, builder, _, args):
        return call(context, builder, overloaded("fma", a), args[0].type, args)

    return a(a, b, c), code


def _function(name):
    @intrinsic
    def function(context, a):
        def code(context, builder, _, args):
            return call(context, builder, overloaded(name, a), args[0].type, args)

        return a(a), code

    return function


# |a|; and exp, lane by lane through the C library.
absolute, exponential = _function("fabs"), _function("exp")


@intrinsic
def sum_lanes(context, a):
    """The sum of the lanes, halves added to halves until one is left."""

    def code(context, builder, signature_, args):
        lanes, vector = a.lanes, args[0]
        while lanes > 1:
            lanes //= 2
            low, high = (
                builder.shuffle_vector(
                    vector,
                    vector,
                    ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(at, at + lanes))),
                )
                for at in (0, lanes)
            )
            vector = builder.fadd(low, high)
        return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))

    return a.element(a), code


@intrinsic
def select(context, mask, a, b):
    """a where the mask holds, else b."""
    return a(mask, a, b), lambda context, builder, _, args: builder.select(*args)


@intrinsic
def lanes_below(context, count):
    """Mask of the first `count` of LANES lanes; all of them for a larger count."""
    kind = Vec(types.boolean, LANES)

    def code(context, builder, signature_, args):
        word = ir.IntType(32)
        number = context.cast(builder, args[0], signature_.args[0], types.int32)
        index = ir.Constant(ir.VectorType(word, LANES), list(range(LANES)))
        return builder.icmp_signed(
            "<", index, spread(context, builder, Vec(types.int32, LANES), number)
        )

    return kind(count), code


@intrinsic
def to_bits(context, mask):
    """A mask of LANES lanes as uint16, first lane in the lowest bit."""

    def code(context, builder, _, args):
        return builder.bitcast(args[0], ir.IntType(LANES))

    return types.uint16(mask), code


@intrinsic
def from_bits(context, bits):
    """The mask in a uint16."""

    def code(context, builder, _, args):
        return builder.bitcast(args[0], ir.VectorType(ir.IntType(1), LANES))

    return Vec(types.boolean, LANES)(types.uint16), code


@intrinsic
def set_lanes(context, bits, base):
    """base + index of each set bit of a uint16, as int32 lanes: those set first, the rest undefined."""
    kind = Vec(types.int32, LANES)

    def code(context, builder, signature_, args):
        word, vector = ir.IntType(32), context.get_value_type(kind)
        start = context.cast(builder, args[1], signature_.args[1], types.int32)
        index = ir.Constant(vector, list(range(LANES)))
        lanes = builder.add(index, spread(context, builder, kind, start))
        mask = builder.bitcast(args[0], ir.VectorType(ir.IntType(1), LANES))
        name = f"llvm.experimental.vector.compress.v{LANES}i{word.width}"
        return call(
            context, builder, name, vector, [lanes, mask, ir.Constant(vector, ir.Undefined)]
        )

    return kind(types.uint16, base), code


@intrinsic
def trailing_zeros(context, word):
    """Position of the lowest set bit of a uint64 that is not zero."""

    def code(context, builder, _, args):
        undefined_at_zero = ir.Constant(ir.IntType(1), 1)
        return call(context, builder, "llvm.cttz.i64", ir.IntType(64), [*args, undefined_at_zero])

    return types.int64(types.uint64), code


@intrinsic
def set_bits(context, word):
    """How many bits of a uint64 are set."""

    def code(context, builder, _, args):
        return call(context, builder, "llvm.ctpop.i64", ir.IntType(64), args)

    return types.int64(types.uint64), code


def _define(symbol, emit, result=lambda kind: kind, masks=False):
    """`symbol` on two vectors, or on a vector and a scalar."""

    class Template(AbstractTemplate):
        def generic(self, args, _):
            kinds = [a for a in args if isinstance(a, Vec)]
            if len(args) != 2 or not kinds or (kinds[0].element == types.boolean) != masks:
                return None
            kind = kinds[0]
            given = [a if isinstance(a, Vec) else kind.element for a in args]
            return signature(result(kind), *given)

    def lower(context, builder, signature_, args):
        kind = next(a for a in signature_.args if isinstance(a, Vec))
        whole = [
            value if isinstance(a, Vec) else spread(context, builder, kind, value)
            for a, value in zip(signature_.args, args, strict=True)
        ]
        return emit(builder, *whole)

    infer_global(symbol)(Template)
    for pair in ((Vec, Vec), (Vec, types.Float), (types.Float, Vec)):
        lower_builtin(symbol, *pair)(lower)


def _mask_of(kind):
    return Vec(types.boolean, kind.lanes)


_define(operator.add, lambda b, x, y: b.fadd(x, y))
_define(operator.sub, lambda b, x, y: b.fsub(x, y))
_define(operator.mul, lambda b, x, y: b.fmul(x, y))
_define(operator.truediv, lambda b, x, y: b.fdiv(x, y))
_define(operator.gt, lambda b, x, y: b.fcmp_ordered(">", x, y), _mask_of)
_define(operator.ge, lambda b, x, y: b.fcmp_ordered(">=", x, y), _mask_of)
_define(operator.lt, lambda b, x, y: b.fcmp_ordered("<", x, y), _mask_of)
_define(operator.ne, lambda b, x, y: b.fcmp_unordered("!=", x, y), _mask_of)
_define(operator.and_, lambda b, x, y: b.and_(x, y), masks=True)
