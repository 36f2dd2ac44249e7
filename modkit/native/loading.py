"""The words of `Engine(...)` about the model, the context and where they lie, checked; nothing of C here.

Everything has llama.cpp's default, so an empty set of options is a plain load. Any thread; no state.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from modkit.errors import OptionError

__all__ = ["KV_TYPES", "LoadOptions"]

# ggml's numbers of the types that a KV cache can have
KV_TYPES = {"f32": 0, "f16": 1, "bf16": 30, "q8_0": 8, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "iq4_nl": 20}
ROPE_SCALINGS = {"none": 0, "linear": 1, "yarn": 2, "longrope": 3}
SPLIT_MODES = {"none": 0, "layer": 1, "row": 2, "tensor": 3}
NUMA = {"distribute": 1, "isolate": 2, "numactl": 3, "mirror": 4}
PRIORITIES = {"low": -1, "normal": 0, "medium": 1, "high": 2, "realtime": 3}

MAX_OVERRIDES = 256
# llama.cpp's struct for an override holds 128 bytes of the key and of a text, zeros included
MAX_OVERRIDE_BYTES = 127


def _whole(name: str, value: object, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise OptionError(f"{name}={value!r}: give a whole number from {low} to {high}")
    return value


def _number(name: str, value: object, low: float, high: float) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not good or not low <= value <= high:  # type: ignore[operator]
        raise OptionError(f"{name}={value!r}: give a number from {low:g} to {high:g}")
    return float(value)  # type: ignore[arg-type]


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise OptionError(f"{name}={value!r}: give True or False")


def _one_of(name: str, value: object, known: Mapping[str, int]) -> None:
    if not isinstance(value, str) or value not in known:
        raise OptionError(f"{name}={value!r}: give one of {', '.join(known)}")


@dataclass(frozen=True)
class LoadOptions:
    """How a model is loaded and run; raises OptionError for a value that cannot be meant.

    batch: most tokens in one decode. kv_type: of the KV cache, "f16" or a pair (K, V); quantised ones
    save memory (V needs flash attention). flash_attention: True, False or "auto" (where it works).
    rope_scaling ("none", "linear", "yarn", "longrope"), rope_base, rope_scale and the yarn_ numbers
    stretch the context; yarn_context is what the model was trained with. mmap: None lets llama.cpp
    choose. mlock: keep the weights out of swap. numa: "distribute", "isolate", "numactl" or "mirror",
    for the whole process. check_tensors: look at every weight for NaN while loading. overrides: model
    metadata to replace, e.g. {"tokenizer.ggml.add_bos_token": False}. warm_up: one decode at load, so
    that the first reply does not wait for the weights. perf: measure, for Engine.perf(). repack:
    rearrange weights for this CPU. draft: tokens decoded ahead at most (0 to 15) where a reply repeats
    what was said before; the text is the same, and where it does not pay nothing is drafted.
    draft_model: a smaller .gguf with the same vocabulary that drafts where nothing is repeated, computed
    on the CPU, a KV cache of its own; off by itself, too, where it does not pay.
    priority ("low" … "realtime"), poll (0 never spins … 100) and cpus
    (core numbers) of the compute threads, where the build has a thread pool of its own; "low" holds for
    the worker's own thread everywhere: whatever else wants the processor goes first.

    Where it lies: main_gpu (index or device name), tensor_split (a share for each device), split_mode
    ("none", "layer", "row", "tensor"), devices (names from `modkit doctor`; [] for none), kv_on_gpu,
    ops_on_gpu (big batches of CPU layers computed there), placement: {regular expression over tensor
    names: buffer or device name}, experts_on_cpu: the experts of a mixture stay in RAM.
    vram_margin: bytes or "1GiB" of the GPU's free memory that are left to the game (None: none beside a
    vram_budget, else 256 MiB). min_context: how far "auto" may shorten the context before it gives up
    the GPU, in tokens (0: to a quarter).
    """

    batch: int | None = None
    kv_type: str | Sequence[str] = "f16"
    flash_attention: bool | str = "auto"
    rope_scaling: str | None = None
    rope_base: float | None = None
    rope_scale: float | None = None
    yarn_ext_factor: float | None = None
    yarn_attn_factor: float | None = None
    yarn_beta_fast: float | None = None
    yarn_beta_slow: float | None = None
    yarn_context: int | None = None
    mmap: bool | None = None
    mlock: bool = False
    numa: str | None = None
    check_tensors: bool = False
    overrides: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    warm_up: bool = True
    perf: bool = False
    repack: bool = True
    priority: str | None = None
    poll: int | None = None
    cpus: Sequence[int] | None = None
    main_gpu: int | str = 0
    tensor_split: Sequence[float] | None = None
    split_mode: str = "layer"
    devices: Sequence[str] | None = None
    kv_on_gpu: bool = True
    ops_on_gpu: bool = True
    placement: Mapping[str, str] = field(default_factory=dict)
    experts_on_cpu: bool = False
    vram_margin: int | str | None = None
    min_context: int = 0
    draft: int = 15
    draft_model: str | os.PathLike[str] | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> LoadOptions:
        """From keywords; raises OptionError for one that does not exist."""
        known = {f.name for f in fields(cls)}
        for name in options:
            if name not in known:
                raise OptionError(f"there is no option {name!r}; options are {', '.join(sorted(known))}")
        return cls(**options)

    def __post_init__(self) -> None:
        for name in ("mlock", "check_tensors", "warm_up", "perf", "repack", "kv_on_gpu", "ops_on_gpu"):
            _flag(name, getattr(self, name))
        _flag("experts_on_cpu", self.experts_on_cpu)
        if self.mmap is not None:
            _flag("mmap", self.mmap)
        if self.batch is not None:
            _whole("batch", self.batch, 32, 1 << 16)
        _whole("draft", self.draft, 0, 15)
        if self.draft_model is not None:
            if not isinstance(self.draft_model, (str, os.PathLike)) or not os.fspath(self.draft_model):
                raise OptionError(f"draft_model={self.draft_model!r}: give the path of a .gguf file, or None")
            # absolute: what reads it may be a process with another current folder
            object.__setattr__(self, "draft_model", os.path.abspath(os.fspath(self.draft_model)))
        _whole("min_context", self.min_context, 0, 1 << 20)
        for kind in self.kv_types:
            _one_of("kv_type", kind, KV_TYPES)
        if not isinstance(self.flash_attention, bool) and self.flash_attention != "auto":
            raise OptionError(f'flash_attention={self.flash_attention!r}: give True, False or "auto"')
        if self.flash_attention is False and self.kv_types[1] not in ("f32", "f16", "bf16"):
            raise OptionError(f"a V cache of {self.kv_types[1]} needs flash attention: leave it on, or take f16 for V")
        self._check_rope()
        self._check_threads()
        self._check_overrides()
        self._check_places()

    @property
    def kv_types(self) -> tuple[str, str]:
        """The types of K and V."""
        pair = (self.kv_type, self.kv_type) if isinstance(self.kv_type, str) else self.kv_type
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise OptionError(f'kv_type={self.kv_type!r}: give a type such as "q8_0", or a pair of them (K, V)')
        return pair[0], pair[1]

    def _check_rope(self) -> None:
        if self.rope_scaling is not None:
            _one_of("rope_scaling", self.rope_scaling, ROPE_SCALINGS)
        for name, low, high in (
            ("rope_base", 1.0, 1e12),
            ("rope_scale", 1e-4, 1e4),
            ("yarn_ext_factor", -1.0, 1e3),
            ("yarn_attn_factor", 0.0, 1e3),
            ("yarn_beta_fast", 0.0, 1e4),
            ("yarn_beta_slow", 0.0, 1e4),
        ):
            if getattr(self, name) is not None:
                _number(name, getattr(self, name), low, high)
        if self.yarn_context is not None:
            _whole("yarn_context", self.yarn_context, 1, 1 << 28)

    def _check_threads(self) -> None:
        if self.numa is not None:
            _one_of("numa", self.numa, NUMA)
        if self.priority is not None:
            _one_of("priority", self.priority, PRIORITIES)
        if self.poll is not None:
            _whole("poll", self.poll, 0, 100)
        for cpu in self.cpus or ():
            _whole("a number in cpus", cpu, 0, 511)

    def _check_overrides(self) -> None:
        if not isinstance(self.overrides, Mapping) or len(self.overrides) > MAX_OVERRIDES:
            raise OptionError(f"overrides: give a dict of at most {MAX_OVERRIDES} metadata keys and values")
        for key, value in self.overrides.items():
            if not isinstance(key, str) or not 0 < len(key.encode("utf-8", "replace")) <= MAX_OVERRIDE_BYTES:
                raise OptionError(f"overrides: the key {key!r:.80} is not a text of 1 to {MAX_OVERRIDE_BYTES} bytes")
            if isinstance(value, str):
                if len(value.encode("utf-8", "replace")) > MAX_OVERRIDE_BYTES or "\0" in value:
                    raise OptionError(f"overrides: the text for {key} is longer than {MAX_OVERRIDE_BYTES} bytes")
            elif isinstance(value, bool):
                continue
            elif isinstance(value, int):
                _whole(f"overrides: {key}", value, -(1 << 63), (1 << 63) - 1)
            else:
                _number(f"overrides: {key}", value, -1e300, 1e300)

    def _check_places(self) -> None:
        _one_of("split_mode", self.split_mode, SPLIT_MODES)
        if not isinstance(self.main_gpu, str):
            _whole("main_gpu", self.main_gpu, 0, 63)
        if self.tensor_split is not None:
            if not isinstance(self.tensor_split, (list, tuple)) or not 0 < len(self.tensor_split) <= 64:
                raise OptionError(f"tensor_split={self.tensor_split!r:.80}: give a share for each device")
            if not sum(_number("a share in tensor_split", share, 0.0, 1e9) for share in self.tensor_split):
                raise OptionError("tensor_split: all shares are zero")
        if self.devices is not None and (
            isinstance(self.devices, str) or len(self.devices) > 64 or not all(isinstance(d, str) for d in self.devices)
        ):
            raise OptionError(f'devices={self.devices!r:.80}: give a list of names, such as ["Vulkan0"]')
        if not isinstance(self.placement, Mapping) or len(self.placement) > MAX_OVERRIDES:
            raise OptionError("placement: give a dict of regular expressions over tensor names and buffer names")
        for pattern, where in self.placement.items():
            check_pattern("placement", pattern)
            if not isinstance(where, str):
                raise OptionError(f"placement: {where!r:.80} is not the name of a device or buffer")


def check_pattern(name: str, pattern: object) -> None:
    """llama.cpp gives it to std::regex, whose complaint would be an exception in mid-load, and which takes
    exponential time for nested repeats; so only what both understand, and short."""
    import re

    if not isinstance(pattern, str) or not 0 < len(pattern) <= 200 or "\0" in pattern:
        raise OptionError(f"{name}: {pattern!r:.80} is not a pattern of 1 to 200 characters")
    try:
        re.compile(pattern)
    except re.error as error:
        raise OptionError(f"{name}: {pattern!r} is not a regular expression: {error}") from None
    if re.search(r"\(\?|\\[1-9ZAG]|[*+}]\)[*+{]|[*+?}][+]", pattern):
        raise OptionError(f"{name}: {pattern!r} uses what C++'s regular expressions lack, or nests repeats")
