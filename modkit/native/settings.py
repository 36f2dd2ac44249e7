"""From the words of `Engine(...)` to a started worker: sizes, threads, GPU layers, params structs."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modkit.errors import ModelError, OptionError
from modkit.native._core import ffi as core_ffi
from modkit.native.library import Library, load
from modkit.native.worker import MAX_WAITING, Worker

__all__ = ["Settings", "configure", "default_threads", "parse_bytes"]

# How long a decode that carries prefill may take: while others speak (their next words wait for it),
# and while nobody does (a cancel aborts it, so only other prompts wait).
SLICE_SECONDS = 0.025
SLICE_SECONDS_ALONE = 0.100
BATCH = 512
ALL_LAYERS = 999
# Of events: a host may stay away for some 20,000 tokens before the worker waits for it.
RING_BYTES = 1 << 18


def _physical_cores() -> int:
    """Cores without their hardware threads, as far as the system tells."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if sys.platform.startswith("linux"):
        siblings = set()
        for path in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/thread_siblings_list"):
            try:
                siblings.add(path.read_text().strip())
            except OSError:
                return usable
        if siblings:
            return min(usable, len(siblings))
    return usable


def default_threads() -> int:
    """Half of the physical cores, 1 to 8: a game needs the others, and its frame pays for every one taken."""
    return max(1, min(8, _physical_cores() // 2))


def parse_bytes(value: int | str) -> int:
    """4294967296, "4GiB", "512 MiB", "1.5G" -> bytes; raises OptionError."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    match = (
        re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", value, re.IGNORECASE)
        if isinstance(value, str)
        else None
    )
    if match is None or float(match[1]) <= 0:
        raise OptionError(f'{value!r} is not a size; give bytes, or a string such as "4GiB"')
    return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))


@dataclass(frozen=True)
class Settings:
    """The checked arguments of an engine; raises OptionError."""

    context: int = 4096
    slots: int = 1
    threads: int | None = None
    gpu_layers: int | str = "auto"
    vram_budget: int | str | None = None
    cache_ram: int | str | None = "256MiB"

    def __post_init__(self) -> None:
        for name, low, high in (("context", 16, 1 << 20), ("slots", 1, 64), ("threads", 1, 512)):
            value = getattr(self, name)
            if value is None and name == "threads":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise OptionError(f"{name}={value!r}: give a whole number from {low} to {high}")
        if self.context * self.slots > 1 << 22:
            raise OptionError(f"context={self.context} in {self.slots} slots is more than {1 << 22} tokens")
        self.cache_bytes()
        layers = self.gpu_layers
        if layers not in ("auto", "all") and (not isinstance(layers, int) or isinstance(layers, bool) or layers < 0):
            raise OptionError(f'gpu_layers={layers!r}: give a number of layers, "auto" or "all"')

    def cache_bytes(self) -> int:
        """Of memory for sequences without a slot; raises OptionError."""
        return 0 if self.cache_ram is None or self.cache_ram == 0 else parse_bytes(self.cache_ram)

    def layers(self, library: Library) -> int:
        if isinstance(self.gpu_layers, int):
            return min(self.gpu_layers, ALL_LAYERS)
        return ALL_LAYERS if self.gpu_layers == "all" or library.has_gpu() else 0


def _check_path(path: Path) -> None:
    """What can be said at once, without reading: a name that is not there, or is a folder."""
    if path.is_dir():
        raise ModelError(f"{path} is a folder; give the .gguf file in it")
    if not path.is_file():
        raise ModelError(f"{path} does not exist; give the path of a .gguf file")


def _log_level(python_level: int) -> int:
    """ggml's level (1 debug … 4 error, 5 none) for one of logging's."""
    return next((ggml for ggml, level in ((1, 10), (2, 20), (3, 30), (4, 40)) if level >= python_level), 5)


def configure(path: Path, settings: Settings, library_path: str | os.PathLike[str] | None, log_level: int) -> Worker:
    """Loads llama.cpp if need be and starts a worker for the model. Raises LibraryError, ModelError, OptionError."""
    _check_path(path)
    library = load(library_path)
    config = core_ffi.new("mk_config *")
    name = core_ffi.new(
        "char[]", os.fsencode(path.absolute()) if sys.platform != "win32" else str(path.absolute()).encode()
    )
    config.model_path = name
    config.slots = settings.slots
    config.context = settings.context
    config.ring_bytes = max(RING_BYTES, 1 << (settings.slots * 8192).bit_length())
    config.queue_length = MAX_WAITING
    config.slice_seconds = SLICE_SECONDS
    config.slice_seconds_alone = SLICE_SECONDS_ALONE
    config.log_level = _log_level(log_level)
    if settings.vram_budget is not None and settings.gpu_layers == "auto":
        config.vram_budget = parse_bytes(settings.vram_budget)
    config.cache_bytes = settings.cache_bytes()
    _fill_params(config, settings, library)
    config.set_terminate = library.set_terminate()
    return Worker(library, config)


def _fill_params(config: Any, settings: Settings, library: Library) -> None:
    model_block, model = library.model_params()
    model.n_gpu_layers = settings.layers(library)
    context_block, context = library.context_params()
    context.n_ctx = settings.context * settings.slots
    context.n_batch = context.n_ubatch = min(BATCH, max(64, settings.context))
    context.n_seq_max = settings.slots
    context.n_outputs_max = settings.slots
    context.n_threads = context.n_threads_batch = settings.threads or default_threads()
    context.no_perf = True
    core_ffi.memmove(core_ffi.addressof(config, "model_params"), library.ffi.buffer(model_block), 512)
    core_ffi.memmove(core_ffi.addressof(config, "context_params"), library.ffi.buffer(context_block), 512)
    _fill_embed_params(config, settings, library)
    layout = library.layout
    config.at_gpu_layers = layout.offset("model", "n_gpu_layers")
    config.at_progress = layout.offset("model", "progress_callback")
    config.at_progress_data = layout.offset("model", "progress_callback_user_data")
    config.at_abort = layout.offset("context", "abort_callback")
    config.at_abort_data = layout.offset("context", "abort_callback_data")
    config.at_n_ctx = layout.offset("context", "n_ctx")
    config.at_n_batch = layout.offset("context", "n_batch")
    config.at_n_ubatch = layout.offset("context", "n_ubatch")
    config.at_n_outputs = layout.offset("context", "n_outputs_max")
    config.at_n_sequences = layout.offset("context", "n_seq_max")
    config.at_pooling = layout.offset("context", "pooling_type")


def _fill_embed_params(config: Any, settings: Settings, library: Library) -> None:
    """The context for embeddings: the worker makes it when it is first asked for some, and knows its sizes then."""
    block, context = library.context_params()
    context.n_threads = context.n_threads_batch = settings.threads or default_threads()
    context.no_perf = True
    context.embeddings = True
    context.kv_unified = True
    core_ffi.memmove(core_ffi.addressof(config, "embed_params"), library.ffi.buffer(block), 512)
