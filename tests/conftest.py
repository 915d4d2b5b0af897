"""One thread count for every test, set before anything numerical is imported."""

import importlib.util
import os

import hypothesis

from paraspike.threads import environment

os.environ.update(environment(int(os.environ.get("PARASPIKE_THREADS", "1"))))

# A first call may compile a kernel for seconds, so time per example says nothing.
hypothesis.settings.register_profile("paraspike", deadline=None)
hypothesis.settings.load_profile("paraspike")


def _one_element_arrays_are_integers():
    """Triton 3.6's interpreter takes `int` of a one-element array, which NumPy 2.4 refuses; 3.7 does this."""
    from triton.runtime import interpreter

    before = interpreter._patch_lang_tensor

    def patch(tensor, scope):
        before(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    interpreter._patch_lang_tensor = patch


if os.environ.get("TRITON_INTERPRET") == "1" and importlib.util.find_spec("triton"):
    from triton import __version__

    if __version__.startswith("3.6."):
        _one_element_arrays_are_integers()
