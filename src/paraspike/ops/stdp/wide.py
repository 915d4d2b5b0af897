"""Vectors as wide as a strip. The lanes are a literal, so a kernel closes over a number only: closing over
a jitted function defeats Numba's cache."""

from numba.core import types
from numba.extending import intrinsic

from paraspike.ops.vec import Vec, bytes_of, pointer, spread


@intrinsic(prefer_literal=True)
def load_wide(context, array, index, lanes):
    """array[index : index + lanes] as one vector."""
    if not isinstance(lanes, types.IntegerLiteral):
        return None
    kind = Vec(array.dtype, lanes.literal_value)

    def code(context, builder, signature_, args):
        address = pointer(context, builder, signature_, args, context.get_value_type(kind))
        return builder.load(address, align=bytes_of(kind))

    return kind(array, types.unliteral(index), lanes), code


@intrinsic(prefer_literal=True)
def splat_wide(context, value, lanes):
    """A scalar in every lane."""
    if not isinstance(lanes, types.IntegerLiteral):
        return None
    kind = Vec(types.unliteral(value), lanes.literal_value)
    return kind(types.unliteral(value), lanes), lambda context, builder, _, args: spread(
        context, builder, kind, args[0]
    )
