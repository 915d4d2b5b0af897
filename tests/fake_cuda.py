"""A CUDA device that computes nothing: backend cuda runs on it whole, without a GPU, and each mistake shows.

Tensors on "cuda" are torch's fake tensors: shapes, types, strides and devices without numbers; CPU tensors
are real. Mixing the two raises as it does on a GPU, and whatever would make the host wait is written down.
Triton binds, specialises and launches as it would on an sm_90, up to where it calls the compiler.
"""

import contextlib
import itertools
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch
import triton
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from triton.backends.compiler import GPUTarget

from paraspike.datasets import resident
from paraspike.ops.lif import cuda_loops

_SRC = Path(resident.__file__).parents[1]
_CUDA = torch.device("cuda:0")
_LARGEST_GRID = (2**31 - 1, 65535, 65535)
_NO_KERNEL = {"detach", "alias", "_unsafe_view", "lift_fresh", "device", "_has_compatible_shallow_copy_type",
              "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}  # fmt: skip
# Of unknown size until the device is asked: as large as can be.
_COUNTED = {
    "_unique2": lambda v, *_: (v.flatten(), v.new_empty(0), v.new_empty(0)),
    "bincount": lambda v, weights=None, minlength=0: v.new_empty(minlength),
    "nonzero": lambda v: v.new_empty((v.numel(), v.dim()), dtype=torch.long),
}
_numbers = itertools.count()


class Ledger:
    """What a device was asked for.

    Attributes:
        launches: Triton kernels by name.  operations: torch's by name, views and empty tensors left out.
        sent: copies from page-locked memory, for which the host does not wait.
        waits: (what, where) for which it does.  permitted: the same, counted by the function that may.
        compiled: (kernel, signature, constexprs), one for each time that Triton would have compiled.
    """

    def __init__(self, may_wait=()):
        self.may_wait, self.pinned, self.capturing = frozenset(may_wait), {}, False
        self.compiled = []
        self.forget()

    def forget(self) -> None:
        """Begin again, but for what is compiled."""
        self.launches, self.operations, self.sent = Counter(), Counter(), 0
        self.waits, self.permitted = [], Counter()

    @property
    def total(self) -> int:
        """Launches of all kinds; some of torch's operations take more than one."""
        return self.launches.total() + self.operations.total() + self.sent

    def wait(self, what: str) -> None:
        names, where, frame = [], "outside paraspike", sys._getframe(1)
        while frame is not None:
            file = Path(frame.f_code.co_filename)
            if _SRC in file.parents:
                if not names:
                    where = f"{file.relative_to(_SRC)}:{frame.f_lineno}"
                names.append(f"{file.stem}.{frame.f_code.co_qualname}")
            frame = frame.f_back
        allowed = [name for name in names if name in self.may_wait]
        if allowed:
            self.permitted[allowed[0]] += 1
        else:
            self.waits.append((what, where))


class _Dispatch(TorchDispatchMode):
    """Above `FakeTensorMode`: leaves CPU tensors real, notes waits, counts kernels."""

    def __init__(self, ledger):
        super().__init__()
        self.ledger = ledger

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), func.overloadpacket.__name__
        tensors = [v for v in tree_leaves((args, kwargs)) if isinstance(v, torch.Tensor)]
        fakes = [v for v in tensors if isinstance(v, FakeTensor)]
        device = kwargs.get("device")
        if name == "device":
            # Asked by autograd's engine, which would want CUDA's streams; Python has `FakeTensor.device`.
            return torch.device("meta")
        if device is not None and torch.device(device).type == "meta":
            kwargs["device"] = device = _CUDA
        there = torch.device(device).type == "cuda" if device is not None else bool(fakes)
        if not fakes and not there:
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if name == "_to_copy" and fakes and there and kwargs.get("dtype") in (None, args[0].dtype):
            # To where it is: meta is another device to `Tensor.to`.
            return torch.ops.aten.alias(args[0])
        self._note(func, name, args, kwargs, tensors, fakes, there)
        if name == "_local_scalar_dense":
            return 1.0 if args[0].is_floating_point() else 1
        if name == "copy_" and len(fakes) < len(tensors):
            return args[0]
        if name == "_to_copy" and not fakes:
            return _sent(tensors[0], kwargs.get("dtype"))
        if name in _COUNTED:
            return _COUNTED[name](*args, **kwargs)
        if name.startswith(("index", "_index")):
            args = (args[0], _unmasked(args[1]), *args[2:])
        return tree_map(_on_host, func(*args, **kwargs))

    def _note(self, func, name, args, kwargs, tensors, fakes, there):
        ledger, reals = self.ledger, [v for v in tensors if not isinstance(v, FakeTensor)]
        if name == "_local_scalar_dense":
            return ledger.wait("a number is read")
        if name in ("_to_copy", "copy_") and reals:
            if not isinstance(tensors[0], FakeTensor) and name == "copy_":
                return ledger.wait("a copy to the host")
            soon = kwargs.get("non_blocking") or (name == "copy_" and args[2:] == (True,))
            if soon and reals[0].untyped_storage()._cdata in ledger.pinned:
                ledger.sent += 1
                return None
            return ledger.wait("a copy from pageable memory")
        if not there:
            return ledger.wait("a copy to the host")
        if name in _COUNTED:
            ledger.wait(f"the size of {name}")
        if name.startswith(("index", "_index")):
            if not isinstance(args[0], FakeTensor):
                raise RuntimeError("an index on the same device as what is indexed: cpu, not cuda")
            listed = isinstance(args[1], (list, tuple))
            index = [v for v in (args[1] if listed else ()) if v is not None]
            if any(not isinstance(v, FakeTensor) for v in index):
                ledger.wait("an index on the host")
            if any(v.dtype in (torch.bool, torch.uint8) for v in index):
                ledger.wait("a mask is counted")
        if not (func.is_view or name in _NO_KERNEL):
            ledger.operations[name] += 1
        return None


def _unmasked(index):
    """Indices of every place for each mask."""
    if not isinstance(index, (list, tuple)):
        return index
    whole = []
    for v in index:
        mask = v is not None and v.dtype in (torch.bool, torch.uint8)
        whole += [v.new_empty(v.numel(), dtype=torch.long)] * v.dim() if mask else [v]
    return whole


def _sent(tensor, dtype):
    """The fake tensor that a real one becomes on the device."""
    with unset_fake_temporarily():
        strides = torch.empty_like(tensor, device="meta").stride()
    return torch.empty_strided(tensor.shape, strides, dtype=dtype or tensor.dtype, device=_CUDA)


def _on_host(value):
    """A fake CPU tensor as a real one of ones: what is read has some value."""
    if isinstance(value, FakeTensor) and value.fake_device.type == "cpu":
        with unset_fake_temporarily():
            return torch.ones(value.shape, dtype=value.dtype)
    return value


def _address(tensor):
    # Allocations on a GPU begin at multiples of 512 bytes.
    return tensor.untyped_storage()._cdata * 512 + tensor.storage_offset() * tensor.element_size()


def _indexed(value):
    """ "cuda" as "cuda:0"; torch would ask CUDA which one is meant."""
    return _CUDA if value in ("cuda", torch.device("cuda")) else value


def _launching(ledger, name):
    def run(x, y, z, stream, function, packed, metadata, enter, leave, *given):
        grid = (x, y, z)
        for size, most in zip(grid, _LARGEST_GRID, strict=True):
            assert type(size) is int and 0 < size <= most, f"{name} over a grid of {grid}"
        for value in given:
            if isinstance(value, torch.Tensor):
                there = isinstance(value, FakeTensor) and value.fake_device == _CUDA
                assert there and value.is_contiguous(), (
                    f"{name} is given {type(value).__name__} {list(value.shape)} of strides {value.stride()} "
                    f"on {value.device}"
                )
        ledger.launches[name] += 1

    return run


def _compiling(ledger):
    def compile_(function, key, signature, device, constexprs, options, attrs, warmup):
        name = f"{function.__module__.removeprefix('paraspike.ops.')}.{function.__name__}"
        kernel = SimpleNamespace(run=_launching(ledger, name), launch_metadata=lambda *_: None,
                                 function=None, packed_metadata=None)  # fmt: skip
        assert not ledger.capturing, f"{name} is compiled while a graph is captured"
        function.device_caches[device][0][key] = kernel
        ledger.compiled.append((name, tuple(signature.items()), tuple(constexprs.items())))
        return kernel

    return compile_


def _patches(ledger):
    """What of torch and Triton asks for a driver."""

    @contextlib.contextmanager
    def capture(graph, **_):
        # What is captured is not run.
        held = ledger.launches.copy(), ledger.operations.copy(), ledger.waits.copy()
        ledger.capturing = True
        yield
        ledger.capturing = False
        assert ledger.waits == held[2], f"waits in a capture: {ledger.waits}"
        ledger.launches, ledger.operations, _ = held

    def pin(tensor):
        tensor = tensor.clone()
        ledger.pinned[tensor.untyped_storage()._cdata] = tensor
        return tensor

    def replay():
        ledger.operations["graph"] += 1

    def moved(tensor, *given, **named):
        return to(tensor, *map(_indexed, given), **named)

    to = torch.Tensor.to
    stream = SimpleNamespace(cuda_stream=0, wait_stream=lambda other: None)
    number = next(_numbers)
    driver = SimpleNamespace(
        get_current_target=lambda: GPUTarget("cuda", 90, 32),
        # One of its own for each ledger, as Triton keeps what it compiled by device.
        get_current_device=lambda: number,
        get_current_stream=lambda device: 0,
    )
    optimizers = sys.modules[torch.optim.Optimizer.__module__]
    listed = [*optimizers._foreach_supported_types, FakeTensor]
    return (
        (torch.cuda, "is_available", lambda: True),
        (torch.cuda, "_exchange_device", lambda index: 0),
        (torch.cuda, "_maybe_exchange_device", lambda index: 0),
        (torch.cuda, "current_stream", lambda *_: stream),
        (torch.cuda, "Stream", lambda *_: stream),
        (torch.cuda, "stream", lambda _: contextlib.nullcontext()),
        (torch.cuda, "synchronize", lambda *_: ledger.wait("synchronize")),
        (torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=replay)),
        (torch.cuda, "graph", capture),
        (torch.Tensor, "pin_memory", pin),
        (torch.Tensor, "to", moved),
        (FakeTensor, "data_ptr", _address),
        (FakeTensor, "is_cuda", property(lambda tensor: tensor.fake_device == _CUDA)),
        (FakeTensor, "tolist", lambda tensor: tensor.cpu().tolist()),
        (FakeTensor, "get_device", lambda tensor: tensor.fake_device.index),
        (optimizers, "_foreach_supported_types", listed),
        (triton.runtime.driver, "_active", driver),
        (triton.JITFunction, "_do_compile", _compiling(ledger)),
    )


def _let_go():
    """Empties what the package keeps on the device."""
    for name, module in list(sys.modules.items()):
        for value in list(vars(module).values()) if name.startswith("paraspike.") else ():
            if hasattr(value, "cache_clear"):
                value.cache_clear()
    cuda_loops._GRAPHS.clear()
    resident._held.clear()


@contextlib.contextmanager
def fake_cuda(may_wait=()):
    """A device, as a `Ledger`; within the functions `may_wait` ("module.Class.function") the host may wait."""
    ledger, fakes = Ledger(may_wait), FakeTensorMode(allow_non_fake_inputs=True)
    lifted = torch._C._only_lift_cpu_tensors()
    with contextlib.ExitStack() as stack:
        stack.callback(_let_go)
        stack.callback(torch._C._set_only_lift_cpu_tensors, lifted)
        for owner, name, value in _patches(ledger):
            stack.enter_context(mock.patch.object(owner, name, value, create=True))
        stack.enter_context(fakes)
        stack.enter_context(_Dispatch(ledger))
        # Then torch.tensor(..., device="cuda") is a tensor on the host and a copy.
        torch._C._set_only_lift_cpu_tensors(True)
        yield ledger
