"""Mixed precision on the pretend device, by the rules of CUDA or of the CPU, to see without a GPU what a model meets.

    import pretend_autocast, pretend_device as pretend
    with pretend.Mode(), pretend_autocast.rules("CUDA"), torch.autocast("pretend", dtype=torch.bfloat16):
        loss = model.loss(batch)["loss"]

Which functions have a rule is asked of torch, which knows that on a machine without CUDA, too. Which rule it is says
the header that CUDA's kernels are made of (it is part of torch); the CPU's are written below. As there, the arguments
are cast and what a function calls is left alone; float64 is never cast. What it does not have is the memory of cast
weights; the CPU's own autocast has it. Tried with torch 2.13.
"""

import re
from contextlib import contextmanager
from pathlib import Path

import pretend_device as pretend
import torch
from torch.utils._pytree import tree_flatten, tree_map

KEY = "AutocastPrivateUse1"
CPU_LOW = """_addmm_activation _convolution.deprecated _native_multi_head_attention addbmm addmm baddbmm bmm conv1d
    conv1d.padding conv2d conv2d.padding conv3d conv3d.padding conv_tbc conv_transpose1d conv_transpose2d.input
    conv_transpose3d.input linalg_vecdot linear matmul mkldnn_rnn_layer mm prelu scaled_dot_product_attention"""
CPU_WIDEST = "cat index_copy stack"
UNSAFE = (
    "torch.nn.functional.binary_cross_entropy and torch.nn.BCELoss are unsafe to autocast. "
    "binary_cross_entropy_with_logits and BCEWithLogits are safe to autocast."
)


def functions(key):
    """Names of the functions that have a rule on a device, such as ``"conv1d.padding"``."""
    names = [name for name in torch._C._dispatch_get_all_op_names() if name.startswith("aten::")]
    return [n.removeprefix("aten::") for n in names if torch._C._dispatch_has_kernel_for_dispatch_key(n, key)]


def listed(header, name):
    """The functions of one list in the header, written there as ``_(pow, Scalar)``."""
    [body] = re.findall(rf"#define AT_FORALL_{name}\(_\)((?:.*\\\n)*.*)", header)
    return [".".join(filter(None, found)) for found in re.findall(r"_\((\w+)(?:, (\w+))?\)", body)]


def cuda_rules():
    header = (Path(torch.__file__).parent / "include/ATen/autocast_mode.h").read_text()
    lists = {"LOWER_PRECISION_FP": low, "FP32": full, "FP32_SET_OPT_DTYPE": full_result, "PROMOTE": widest}
    found = {name: rule for kind, rule in lists.items() for name in listed(header, kind)}
    found |= {"norm.Scalar": full_norm, "norm.ScalarOpt_dim": full_norm, "binary_cross_entropy": refused}
    return found


def cpu_rules():
    given = dict.fromkeys(CPU_LOW.split(), low) | dict.fromkeys(CPU_WIDEST.split(), widest)
    return {name: given.get(name, full) for name in functions("AutocastCPU")}


# ---- the rules


def is_castable(x):
    return isinstance(x, pretend.PretendTensor) and x.is_floating_point() and x.dtype != torch.float64


def cast(dtype, args):
    return tree_map(lambda x: x.to(dtype) if is_castable(x) else x, args)


def low(function, args, kwargs):
    """In bfloat16."""
    dtype = torch.get_autocast_dtype("pretend")
    return function(*cast(dtype, args), **cast(dtype, kwargs))


def full(function, args, kwargs):
    """In float32."""
    return function(*cast(torch.float32, args), **cast(torch.float32, kwargs))


def widest(function, args, kwargs):
    """In float32 if an argument is."""
    types = {x.dtype for x in tree_flatten((args, kwargs))[0] if is_castable(x)}
    return (full if torch.float32 in types else low)(function, args, kwargs)


def full_result(function, args, kwargs):
    """The result is float32 where the caller asks for nothing else."""
    place = [a.name for a in function._schema.arguments].index("dtype")
    asked = args[place] if len(args) > place else kwargs.get("dtype")
    if asked is None and is_castable(args[0]):
        return function(*args[:place], **{**kwargs, "dtype": torch.float32})
    return function(*args, **kwargs)


def full_norm(function, args, kwargs):
    """The same, of a function that can be asked for a type under another name."""
    norm = torch.ops.aten.norm
    asks = norm.ScalarOpt_dtype if function._overloadname == "Scalar" else norm.ScalarOpt_dim_dtype
    given = {a.name: x for a, x in zip(function._schema.arguments, args, strict=False)} | kwargs
    given = {"p": 2, **({"keepdim": False} if "dim" in given else {}), **given}
    return asks(**given, dtype=torch.float32 if is_castable(args[0]) else args[0].dtype)


def refused(function, args, kwargs):
    raise RuntimeError(UNSAFE)


RULES = {"CUDA": cuda_rules(), "CPU": cpu_rules()}
_without = torch._C.DispatchKeySet(torch._C._dispatch_key_parse(KEY))
_now: list[tuple[str, torch.library.Library]] = []


def kernel(function, rule):
    def run(*args, **kwargs):
        with torch._C._ExcludeDispatchKeyGuard(_without):
            return rule(function, args, kwargs)

    return run


def follow(of):
    """From now on the pretend device follows these rules; at first it is CUDA's."""
    if _now:
        _, library = _now.pop()
        library._destroy()
    library = torch.library.Library("aten", "IMPL")
    for name, rule in RULES[of].items():
        packet, _, overload = name.partition(".")
        function = getattr(getattr(torch.ops.aten, packet), overload or "default")
        library.impl(name, kernel(function, rule), KEY)
    _now.append((of, library))


@contextmanager
def rules(of):
    """Within it the pretend device follows the rules of ``"CUDA"`` or of the ``"CPU"``."""
    before = _now[0][0]
    if of != before:
        follow(of)
    try:
        yield
    finally:
        if of != before:
            follow(before)


if pretend.HERE:
    torch.pretend.get_amp_supported_dtype = lambda: [torch.bfloat16, torch.float16]
_others = torch.library.Library("_", "IMPL")
_others.fallback(torch.library.fallthrough_kernel, KEY)
follow("CUDA")
