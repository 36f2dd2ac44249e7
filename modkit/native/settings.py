"""From the words of `Engine(...)` to a started worker: sizes, threads, GPU layers, params structs."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modkit.errors import ModelError, OptionError
from modkit.native._core import ffi as core_ffi
from modkit.native._core import lib as core
from modkit.native.library import Library, load
from modkit.native.loading import LoadOptions
from modkit.native.memory import free_memory
from modkit.native.params import devices_in_use, fill_context, fill_model, fill_threadpool, use_numa
from modkit.native.statecache import folder_and_key, salt
from modkit.native.worker import MAX_WAITING, Worker

__all__ = ["Settings", "configure", "default_threads", "parse_bytes"]

# How long a decode that carries prefill may take: while others speak (their next words wait for it),
# and while nobody does (a cancel aborts it, so only other prompts wait).
SLICE_SECONDS = 0.025
SLICE_SECONDS_ALONE = 0.100
# What may be spent, idle after the load, on learning what a batch of each size costs.
CALIBRATE_SECONDS = 2.0
BATCH = 512
ALL_LAYERS = 9999
MAX_BYTES = 1 << 60
MAX_DRAFT = core.MK_MAX_DRAFT
ALWAYS_DRAFT = False  # for tests: whether it pays or not
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
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MAX_BYTES:
        return value
    match = (
        re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", value, re.IGNORECASE)
        if isinstance(value, str)
        else None
    )
    if match is None or float(match[1]) <= 0:
        raise OptionError(f'{value!r} is not a size; give bytes, or a string such as "4GiB"')
    size = int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))
    if size > MAX_BYTES:
        raise OptionError(f"{value!r} is more memory than any machine has")
    return size


@dataclass(frozen=True)
class Settings:
    """The checked arguments of an engine; raises OptionError.

    loading may be a dict, and the whole survives dataclasses.asdict() and back. parts: all files of a
    model in several, when their names do not say so.
    """

    context: int = 4096
    slots: int = 1
    threads: int | None = None
    gpu_layers: int | str = "auto"
    vram_budget: int | str | None = None
    cache_ram: int | str | None = "256MiB"
    loading: LoadOptions = field(default_factory=LoadOptions)
    parts: Sequence[str] = ()
    cache_dir: str | None = None
    cache_disk: int | str = "1GiB"

    def __post_init__(self) -> None:
        if isinstance(self.loading, dict):
            object.__setattr__(self, "loading", LoadOptions.of(self.loading))
        for name, low, high in (("context", 16, 1 << 20), ("slots", 1, 64), ("threads", 1, 512)):
            value = getattr(self, name)
            if value is None and name == "threads":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise OptionError(f"{name}={value!r}: give a whole number from {low} to {high}")
        if self.context * self.slots > 1 << 22:
            raise OptionError(f"context={self.context} in {self.slots} slots is more than {1 << 22} tokens")
        self.cache_bytes()
        parse_bytes(self.cache_disk)
        if self.cache_dir is not None and (not isinstance(self.cache_dir, str) or not self.cache_dir):
            raise OptionError(f"cache_dir={self.cache_dir!r}: give the path of a folder, or None")
        layers = self.gpu_layers
        if layers not in ("auto", "all") and (not isinstance(layers, int) or isinstance(layers, bool) or layers < 0):
            raise OptionError(f'gpu_layers={layers!r}: give a number of layers, "auto" or "all"')

    def cache_bytes(self) -> int:
        """Of memory for sequences without a slot; raises OptionError."""
        return 0 if self.cache_ram is None or self.cache_ram == 0 else parse_bytes(self.cache_ram)

    def layers(self) -> int:
        """The number that llama.cpp is given; with "auto" the worker lowers it."""
        return min(self.gpu_layers, ALL_LAYERS) if isinstance(self.gpu_layers, int) else ALL_LAYERS

    def batch(self) -> int:
        """Tokens of one decode at the most."""
        return self.loading.batch or min(BATCH, max(64, self.context))

    def min_context(self) -> int:
        """How far the context may shrink, at the fit's will: by default to a quarter."""
        return self.loading.min_context or min(self.context, max(256, self.context // 4))


def check_path(path: Path) -> None:
    """What can be said at once, without reading: a name that is not there, or is a folder."""
    if path.is_dir():
        raise ModelError(f"{path} is a folder; give the .gguf file in it")
    if not path.is_file():
        raise ModelError(f"{path} does not exist; give the path of a .gguf file")


def _log_level(python_level: int) -> int:
    """ggml's level (1 debug … 4 error, 5 none) for one of logging's."""
    return next((ggml for ggml, level in ((1, 10), (2, 20), (3, 30), (4, 40)) if level >= python_level), 5)


def configure(
    path: Path,
    settings: Settings,
    library_path: str | os.PathLike[str] | None,
    log_level: int,
    wake_fd: int = 0,
) -> Worker:
    """Loads llama.cpp if need be and starts a worker for the model. Raises LibraryError, ModelError, OptionError.

    wake_fd: the non-blocking end of a pipe that gets a byte when there is news, for who waits instead of ticking.
    """
    keep: list[Any] = []
    library, config = prepare(path, settings, library_path, log_level, keep)
    config.wake_fd = wake_fd
    return Worker(library, config, keep)


def prepare(
    path: Path,
    settings: Settings,
    library_path: str | os.PathLike[str] | None,
    log_level: int,
    keep: list[Any],
) -> tuple[Library, Any]:
    """The library, and a config for a worker; `keep` gets what the config points at. Raises as configure()."""
    parts = [Path(part) for part in settings.parts]
    for part in parts or (path,):
        check_path(part)
    library = load(library_path)
    use_numa(library, settings.loading)
    config = core_ffi.new("mk_config *")
    config.model_path = c_path(path, keep)
    if parts:
        names = core_ffi.new("char *[]", [c_path(part, keep) for part in parts])
        keep.append(names)
        config.splits, config.n_splits = names, len(parts)
    config.slots = settings.slots
    config.context = settings.context
    config.ring_bytes = max(RING_BYTES, 1 << (settings.slots * 8192).bit_length())
    config.queue_length = MAX_WAITING
    config.slice_seconds = SLICE_SECONDS
    config.slice_seconds_alone = SLICE_SECONDS_ALONE
    config.calibrate_seconds = CALIBRATE_SECONDS
    config.log_level = _log_level(log_level)
    _fill_cache(config, settings, library, path, keep)
    _fill_params(config, settings, library, keep)
    _fill_places(config, settings, library)
    if settings.loading.draft_model is not None:
        _fill_draft_model(config, settings, library, Path(settings.loading.draft_model), keep)
    config.set_terminate = library.set_terminate()
    return library, config


def _fill_cache(config: Any, settings: Settings, library: Library, path: Path, keep: list[Any]) -> None:
    config.cache_bytes = settings.cache_bytes()
    place = folder_and_key(settings.cache_dir) if settings.cache_dir is not None and config.cache_bytes else None
    if place is None:
        return
    folder, key = place
    texts = (folder, salt(library.path, library.version, path, f"{settings.loading!r}|{settings.gpu_layers}"))
    owned = [core_ffi.new("char[]", text) for text in texts]
    config.cache_folder, config.cache_salt = owned
    keep += owned
    config.disk_bytes = parse_bytes(settings.cache_disk)
    core_ffi.memmove(config.cache_key, key, len(key))


def c_path(path: Path, keep: list[Any]) -> Any:
    """As the worker wants it: absolute, in the system's bytes (UTF-8 on Windows)."""
    absolute = path.absolute()
    text = core_ffi.new("char[]", os.fsencode(absolute) if sys.platform != "win32" else str(absolute).encode())
    keep.append(text)
    return text


def _fill_params(config: Any, settings: Settings, library: Library, keep: list[Any]) -> None:
    options = settings.loading
    threads = settings.threads or default_threads()
    model_block, model = fill_model(library, options, keep)
    model.n_gpu_layers = settings.layers() if library.has_gpu() or settings.gpu_layers != "auto" else 0
    context_block, context = fill_context(library, options)
    context.n_ctx = settings.context * settings.slots
    context.n_batch = context.n_ubatch = settings.batch()
    context.n_seq_max = settings.slots
    context.n_outputs_max = max(settings.slots, MAX_DRAFT + 1)
    config.unified = context.kv_unified
    context.n_threads = context.n_threads_batch = threads
    core_ffi.memmove(core_ffi.addressof(config, "model_params"), library.ffi.buffer(model_block), 512)
    core_ffi.memmove(core_ffi.addressof(config, "context_params"), library.ffi.buffer(context_block), 512)
    _fill_embed_params(config, settings, library)
    config.warm_up, config.perf = options.warm_up, options.perf
    config.on_cpu = settings.gpu_layers == 0 or not library.has_gpu()
    config.draft = -options.draft if ALWAYS_DRAFT else options.draft
    config.thread_priority = core.MK_PRIORITY_LOW if options.priority == "low" else core.MK_PRIORITY_NORMAL
    fill_threadpool(library, options, threads, config)
    layout = library.layout
    config.at_gpu_layers = layout.offset("model", "n_gpu_layers")
    config.at_progress = layout.offset("model", "progress_callback")
    config.at_progress_data = layout.offset("model", "progress_callback_user_data")
    config.at_no_alloc = layout.offset("model", "no_alloc")
    config.at_load_mode = layout.offset("model", "load_mode")
    config.at_devices = layout.offset("model", "devices")
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


def _fill_draft_model(config: Any, settings: Settings, library: Library, path: Path, keep: list[Any]) -> None:
    """The model that drafts for the other: on the CPU, with the context's sizes and threads, all else by default."""
    check_path(path)
    config.draft_path = c_path(path, keep)
    model_block, model = fill_model(library, LoadOptions(devices=[]), keep)
    model.n_gpu_layers = 0
    context_block, context = library.context_params()
    context.n_ctx = settings.context * settings.slots
    context.n_batch = context.n_ubatch = settings.batch()
    context.n_seq_max = settings.slots
    context.n_threads = context.n_threads_batch = settings.threads or default_threads()
    context.no_perf = True
    core_ffi.memmove(core_ffi.addressof(config, "draft_model_params"), library.ffi.buffer(model_block), 512)
    core_ffi.memmove(core_ffi.addressof(config, "draft_context_params"), library.ffi.buffer(context_block), 512)
    config.ram_free = max(1, config.ram_free - path.stat().st_size) if config.ram_free else 0


def _fill_places(config: Any, settings: Settings, library: Library) -> None:
    """What fit.c has to know about the memory of this machine."""
    options = settings.loading
    config.auto_layers = settings.gpu_layers == "auto"
    config.kv_on_gpu, config.experts_on_cpu = options.kv_on_gpu, options.experts_on_cpu
    config.weights_in_ram = options.mmap is False or options.mlock
    config.min_context = settings.min_context()
    config.ram_free = free_memory()
    if settings.vram_budget is not None:
        config.vram_budget = parse_bytes(settings.vram_budget)
    used = devices_in_use(library, options)
    shares = list(options.tensor_split or ())
    config.n_devices = min(len(used), core.MK_MAX_DEVICES)
    for i, device in enumerate(used[: config.n_devices]):
        place = config.devices[i]
        place.name, place.free = device.name.encode()[:31], device.free
        place.share = float(shares[i]) if i < len(shares) else 0.0
    if options.vram_margin is None:
        smallest = min((device.total for device in used), default=0)
        config.vram_margin = 0 if settings.vram_budget is not None else min(256 << 20, smallest // 8)
    elif options.vram_margin != 0:
        config.vram_margin = parse_bytes(options.vram_margin)
