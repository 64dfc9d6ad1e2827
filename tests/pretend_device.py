"""A pretend accelerator, to see without a GPU whether code is right about devices.

Its tensors say ``device='pretend:0'``, compute on the CPU, and refuse to meet CPU tensors just as CUDA tensors do (a
CPU tensor without dimensions may meet them, and a CPU index may index them). ``.numpy()`` is refused until ``.cpu()``.
With ``FLOAT64 = False`` it refuses float64 as Apple's MPS does.

    import pretend_device as pretend
    with pretend.Mode():
        model.to(pretend.DEVICE); model.loss({k: v.to(pretend.DEVICE) for k, v in batch.items()})["loss"].backward()

Tried with torch 2.13 on the CPU. It rests on an experimental function of torch, so it belongs into tests only.
``SYNCS`` counts what makes a CUDA program wait for the device (``.item()``, ``bool(tensor)``, a boolean index,
``nonzero``, ``equal``, a copy to the CPU), by kind. ``UPLOADS`` counts copies of CPU memory to the device that are not
``non_blocking``, by kind: CUDA waits there, too, also for ``torch.tensor(0.5, device=…)``, ``x.new_tensor([…])``,
``Normal(x, 0.5)`` and an index on the CPU. Mixed precision: ``pretend_autocast.py``. What it cannot see: speed, memory,
kernels that differ. On a real GPU (H200) exactly the cells failed that fail here.
"""

import contextlib
from collections import Counter
from unittest import mock

import torch
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

FLOAT64 = True
SYNCS: Counter[str] = Counter()
UPLOADS: Counter[str] = Counter()
WAITS = {
    "aten._local_scalar_dense.default",
    "aten.nonzero.default",
    "aten.is_nonzero.default",
    "aten.equal.default",
    "aten.masked_select.default",
    "aten._unique2.default",
    "aten.unique_dim.default",
}
HERE = not torch.cuda.is_available()  # in a process torch goes backward on one kind of accelerator alone
if HERE:
    backend_registration._setup_privateuseone_for_python_backend("pretend")
    # `torch.random.fork_rng` asks every device. This one draws with the CPU's generator, which is kept already.
    torch.pretend.get_rng_state = lambda device=None: torch.get_rng_state()
    torch.pretend.set_rng_state = lambda state, device=None: None
DEVICE = torch.device("pretend:0" if HERE else "meta")


class PretendTensor(torch.Tensor):
    @staticmethod
    def __new__(cls, inner):
        if inner.dtype == torch.float64 and not FLOAT64:
            raise TypeError("Cannot convert a pretend Tensor to float64 dtype as the device doesn't support float64.")
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=DEVICE,
            requires_grad=False,
        )
        tensor.inner = inner
        return tensor

    __torch_function__ = torch._C._disabled_torch_function_impl

    def __repr__(self):
        return f"Pretend({self.inner})"

    def __format__(self, spec):  # torch has numbers for its own class alone
        return format(self.item(), spec) if self.ndim == 0 else object.__format__(self, spec)

    def tolist(self):
        SYNCS["tolist"] += 1
        return self.inner.tolist()

    def numpy(self, *_, **__):
        raise TypeError("can't convert pretend:0 device type tensor to numpy. Use Tensor.cpu() to copy it first.")

    __array__ = numpy

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


class Mode(TorchDispatchMode):
    """Inside it tensors can be made on, and copied to, the pretend device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return run(func, args, kwargs or {})


@contextlib.contextmanager
def chosen():
    """Within it `mmtutor.training.fit` trains on ``DEVICE``."""
    from mmtutor.training import loop

    real = loop.own_accelerator

    @contextlib.contextmanager
    def own_accelerator():
        with real() as found, mock.patch.object(type(found), "device", DEVICE):
            yield found

    with Mode(), mock.patch.object(loop, "own_accelerator", own_accelerator):
        yield


COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
JOINS = {"aten.stack.default", "aten.cat.default"}  # these take no number from the CPU either
INDEXING = {"aten.index.Tensor", "aten.index_put.default", "aten.index_put_.default", "aten._index_put_impl_.default"}


def unwrap(x):
    return x.inner if isinstance(x, PretendTensor) else x


def wrap(x):
    return PretendTensor(x) if isinstance(x, torch.Tensor) and not isinstance(x, PretendTensor) else x


def run(func, args, kwargs):
    name = str(func)
    tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
    pretend = [t for t in tensors if isinstance(t, PretendTensor)]
    if pretend and func not in COPIES:
        plain = [t for t in tensors if not isinstance(t, PretendTensor) and (t.ndim > 0 or name in JOINS)]
        if name in INDEXING and isinstance(args[0], PretendTensor):
            index = tree_flatten(args[1])[0]
            if any(t is i for t in plain for i in index):
                UPLOADS["index on the CPU"] += 1
            plain = [t for t in plain if not any(t is i for i in index)]
        if plain:
            raise RuntimeError(
                "Expected all tensors to be on the same device, but found at least two devices, "
                f"pretend:0 and cpu! ({name})"
            )
    plain_args, plain_kwargs = tree_map(unwrap, args), dict(tree_map(unwrap, kwargs))
    wrapped = bool(pretend)
    if wrapped and name in WAITS:
        SYNCS[name] += 1
    elif (
        wrapped
        and name in INDEXING
        and any(isinstance(i, torch.Tensor) and i.dtype in (torch.bool, torch.uint8) for i in tree_flatten(args[1])[0])
    ):
        SYNCS["boolean index"] += 1
    if name == "aten.lift_fresh.default" and pretend:
        UPLOADS["torch.tensor"] += 1
    if plain_kwargs.get("device") is not None:
        wrapped = torch.device(plain_kwargs["device"]).type == "pretend"
        if pretend and not wrapped:
            SYNCS["copy to the CPU"] += 1
        if wrapped:
            if func is torch.ops.aten._to_copy.default and not pretend and not kwargs.get("non_blocking"):
                UPLOADS["copy to the device"] += 1
            plain_kwargs["device"] = torch.device("cpu")
    if plain_kwargs.get("pin_memory"):
        plain_kwargs["pin_memory"] = False
    if func is torch.ops.aten.copy_.default:
        if pretend and not isinstance(args[0], PretendTensor):
            SYNCS["copy to the CPU"] += 1
        func(*plain_args, **plain_kwargs)
        return args[0]
    out = REPLACED.get(name, func)(*plain_args, **plain_kwargs)
    if name == "aten._local_scalar_dense.default" or not wrapped:
        return out
    out = tree_map(wrap, out)
    in_place = name.split(".")[1].endswith("_")
    return return_and_correct_aliasing(func, args, kwargs, out) if pretend and in_place else out


# ---- kernels that torch has for accelerators only


def lstm(ig, hg, cx, bi=None, bh=None):
    gates = ig + hg if bi is None else ig + hg + bi + bh
    i, f, g, o = gates.chunk(4, 1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    cy = f * cx + i * g
    return o * cy.tanh(), cy, torch.cat([i, f, g, o], 1)


def lstm_backward(grad_h, grad_c, cx, cy, workspace, has_bias):
    if grad_h is None and grad_c is None:
        return None, None, None
    i, f, g, o = workspace.chunk(4, 1)
    t = cy.tanh()
    grad_h = torch.zeros_like(cy) if grad_h is None else grad_h
    grad_c = (torch.zeros_like(cy) if grad_c is None else grad_c) + grad_h * o * (1 - t * t)
    gates = [grad_c * g * i * (1 - i), grad_c * cx * f * (1 - f), grad_c * i * (1 - g * g), grad_h * t * o * (1 - o)]
    grad = torch.cat(gates, 1)
    return grad, grad_c * f, grad.sum(0) if has_bias else None


def gru(ig, hg, hx, bi=None, bh=None):
    if bi is not None:
        ig, hg = ig + bi, hg + bh
    (ir, iz, i_n), (hr, hz, hn) = ig.chunk(3, 1), hg.chunk(3, 1)
    r, z = (ir + hr).sigmoid(), (iz + hz).sigmoid()
    n = (i_n + r * hn).tanh()
    return (hx - n) * z + n, torch.cat([r, z, n, hx, hn], 1)


def gru_backward(grad_h, workspace, has_bias):
    r, z, n, hx, hn = workspace.chunk(5, 1)
    grad_z, grad_n = grad_h * (hx - n) * z * (1 - z), grad_h * (1 - z) * (1 - n * n)
    grad_r = grad_n * hn * r * (1 - r)
    grad_i, grad_hh = torch.cat([grad_r, grad_z, grad_n], 1), torch.cat([grad_r, grad_z, grad_n * r], 1)
    return grad_i, grad_hh, grad_h * z, grad_i.sum(0) if has_bias else None, grad_hh.sum(0) if has_bias else None


REPLACED = {
    "aten._thnn_fused_lstm_cell.default": lstm,
    "aten._thnn_fused_lstm_cell_backward_impl.default": lstm_backward,
    "aten._thnn_fused_gru_cell.default": gru,
    "aten._thnn_fused_gru_cell_backward.default": gru_backward,
}


def _copy_from(source, target, non_blocking=False):
    unwrap(target).copy_(unwrap(source))
    return target


_library = torch.library.Library("aten", "IMPL")
_library.impl(
    "empty_strided",
    lambda size, stride, *, dtype=None, layout=None, device=None, pin_memory=None: PretendTensor(
        torch.empty_strided(size, stride, dtype=dtype, device="cpu")
    ),
    "PrivateUse1",
)
_library.impl(
    "empty.memory_format",
    lambda size, *, dtype=None, layout=None, device=None, pin_memory=None, memory_format=None: PretendTensor(
        torch.empty(size, dtype=dtype, device="cpu")
    ),
    "PrivateUse1",
)
_library.impl("_copy_from", _copy_from, "PrivateUse1")
_library.impl("_copy_from_and_resize", lambda source, target: _copy_from(source, target), "PrivateUse1")
