"""Which layout llama.cpp's params structs have, measured before any of them is passed.

llama.cpp changes its params structs between versions without a version number in them, and a binding
that guesses wrong corrupts memory. But `*_default_params()` return by value through a hidden pointer,
so a call into a larger buffer, filled beforehand with two different bytes, shows which bytes the
library writes (its struct's size) and what it writes (a fingerprint: n_ctx 512, n_batch 2048, …).
A layout counts as known only when every byte that it names as a field was written and every known
default stands where the layout says. Any thread; no state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modkit.errors import LibraryError
from modkit.native._llama import ffi

__all__ = ["KNOWN", "Layout", "measure"]

_MODEL_DEFAULTS = {
    "n_gpu_layers": -1,
    "split_mode": 1,
    "load_mode": -1,
    "lazy_mode": 1,
    "main_gpu": 0,
    "vocab_only": False,
    "check_tensors": False,
    "use_extra_bufts": True,
    "no_host": False,
    "no_alloc": False,
}
_CONTEXT_DEFAULTS = {
    "n_ctx": 512,
    "n_batch": 2048,
    "n_ubatch": 512,
    "n_seq_max": 1,
    "rope_scaling_type": -1,
    "pooling_type": -1,
    "attention_type": -1,
    "flash_attn_type": -1,
    "yarn_ext_factor": -1.0,
    "type_k": 1,
    "type_v": 1,
    "embeddings": False,
    "offload_kqv": True,
    "no_perf": True,
    "op_offload": True,
    "kv_unified": False,
    "n_samplers": 0,
}


@dataclass(frozen=True)
class Layout:
    """One known pair of params structs; `since` names the llama.cpp it was read from or measured on."""

    since: str
    model: str
    context: str

    def model_params(self, block: Any) -> Any:
        """`block` (an `mk_params *`) seen as this layout's model params."""
        return ffi.cast(f"struct {self.model} *", block)

    def context_params(self, block: Any) -> Any:
        return ffi.cast(f"struct {self.context} *", block)

    def offset(self, struct: str, field: str) -> int:
        """Byte offset of a field; `struct` is "model" or "context"."""
        return int(ffi.offsetof(f"struct {getattr(self, struct)}", field))


KNOWN = (
    Layout("0.5.0", "mk_model_params_1", "mk_context_params_1"),
    Layout("0.6.0-dev", "mk_model_params_1", "mk_context_params_2"),
)


def _sentinel(default_params: Any) -> tuple[bytes, bytes]:
    """What two calls wrote into buffers filled with 0xAA and 0x55."""
    results = []
    for byte in (0xAA, 0x55):
        block = ffi.new("mk_params *")
        ffi.memmove(block, bytes([byte]) * ffi.sizeof("mk_params"), ffi.sizeof("mk_params"))
        # Called through a pointer-taking type: the hidden result pointer of a large struct is an ordinary
        # first argument on x86-64 and Windows; AArch64 passes it in a register of its own, so there the
        # by-value call is used and bytes beyond the struct are not told apart.
        default_params(block)
        results.append(bytes(ffi.buffer(block)))
    return results[0], results[1]


def _written(pair: tuple[bytes, bytes]) -> list[bool]:
    return [a == b for a, b in zip(*pair, strict=True)]


def _fits(struct: str, defaults: dict[str, Any], pair: tuple[bytes, bytes]) -> bool:
    """True when every field was written, every default is where it should be, and nothing lies behind."""
    written = _written(pair)
    block = ffi.new("mk_params *")
    ffi.memmove(block, pair[0], len(pair[0]))
    view = ffi.cast(f"struct {struct} *", block)
    fields = dict(ffi.typeof(f"struct {struct}").fields)
    for field in fields.values():
        if not all(written[field.offset : field.offset + ffi.sizeof(field.type)]):
            return False
    if any(written[ffi.sizeof(f"struct {struct}") :]):
        return False
    # bools must be 0 or 1 in memory: a field that is not where we think shows other bytes
    for field in fields.values():
        if field.type.cname == "_Bool" and pair[0][field.offset] > 1:
            return False
    pointers = (name for name, field in fields.items() if field.type.kind == "pointer")
    if any(getattr(view, name) != ffi.NULL for name in pointers):
        return False
    return all(getattr(view, name) == value for name, value in defaults.items())


def _caller(address: int) -> Any:
    """A function that lets the library write its defaults into our block."""
    import platform

    if platform.machine().lower() in ("x86_64", "amd64"):
        call = ffi.cast("void *(*)(void *)", address)
        return lambda block: call(block)
    by_value = ffi.cast("mk_params (*)(void)", address)

    def copy(block: Any) -> None:
        block[0] = by_value()

    return copy


def measure(name: str, version: str, model_defaults: int, context_defaults: int) -> Layout:
    """The layout of the library whose two default functions lie at these addresses.

    Raises LibraryError for one that is not known: nothing of that library must be called then.
    """
    model = _sentinel(_caller(model_defaults))
    context = _sentinel(_caller(context_defaults))
    for layout in KNOWN:
        if _fits(layout.model, _MODEL_DEFAULTS, model) and _fits(layout.context, _CONTEXT_DEFAULTS, context):
            return layout
    size = sum(_written(context))
    supported = ", ".join(layout.since for layout in KNOWN)
    raise LibraryError(
        f"{name} is llama.cpp {version}, whose context parameters ({size} bytes) have a layout modkit does not know;"
        f" supported are the layouts of {supported}: install one of those, or point MODKIT_LLAMA at one"
    )
