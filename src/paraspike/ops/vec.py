"""The type behind `simd`: a fixed number of lanes as one LLVM value, and how intrinsics are emitted."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel.models import PrimitiveModel
from numba.extending import register_model
from numba.np.arrayobj import make_array


class Vec(types.Type):
    """`lanes` numbers of type `element`; of booleans, a mask."""

    def __init__(self, element, lanes):
        self.element, self.lanes = element, lanes
        super().__init__(f"Vec({element}, {lanes})")

    @property
    def key(self):
        return self.element, self.lanes


@register_model(Vec)
class _Model(PrimitiveModel):
    def __init__(self, manager, kind):
        bit = kind.element == types.boolean
        element = ir.IntType(1) if bit else manager.lookup(kind.element).get_value_type()
        super().__init__(manager, kind, ir.VectorType(element, kind.lanes))


def pointer(context, builder, signature_, args, vector):
    """Address of array[index] for the first two arguments, as a pointer to `vector`."""
    array = make_array(signature_.args[0])(context, builder, args[0])
    index = context.cast(builder, args[1], signature_.args[1], types.intp)
    return builder.bitcast(builder.gep(array.data, [index]), vector.as_pointer())


def bytes_of(kind):
    return kind.element.bitwidth // 8


def spread(context, builder, kind, value):
    """A scalar in every lane."""
    vector, word = context.get_value_type(kind), ir.IntType(32)
    nothing = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(nothing, value, ir.Constant(word, 0))
    return builder.shuffle_vector(
        one, nothing, ir.Constant(ir.VectorType(word, kind.lanes), [0] * kind.lanes)
    )


def call(context, builder, name, result, args):
    """Call an LLVM intrinsic."""
    kind = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def overloaded(name, kind):
    return f"llvm.{name}.v{kind.lanes}f{kind.element.bitwidth}"
