"""A loaded llama.cpp: opened by absolute path, version and layout checked, functions by name.

One `Library` per file and process; it is never unloaded, because a library's own threads and exit
handlers may outlive every engine. `raw` reaches every `llama_*` function 1:1 (with cffi's types; params
structs are opaque blocks, see `model_params()`); it is for tools and experiments. Calls on a context
that an Engine owns belong to that engine's worker alone.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

from modkit.errors import LibraryError
from modkit.native import layout
from modkit.native._core import ffi as core_ffi
from modkit.native._core import lib as core
from modkit.native._llama import ffi
from modkit.native.find import Candidate, candidates
from modkit.native.raw import Raw

__all__ = ["SUPPORTED", "Device", "Library", "load"]

log = logging.getLogger("modkit.native")

SUPPORTED = ((0, 5), (0, 6))
_loaded: dict[Path, Library] = {}


class Device:
    """A place where a model can run, as ggml lists it. Sizes in bytes."""

    def __init__(self, name: str, description: str, kind: str, free: int, total: int) -> None:
        self.name = name
        self.description = description
        self.kind = kind
        self.free = free
        self.total = total

    def __repr__(self) -> str:
        return f"Device({self.name!r}, {self.kind!r}, {self.free >> 20} MiB free)"


def _text(value: Any) -> str:
    return "" if value == ffi.NULL else bytes(ffi.string(value)).decode("utf-8", "replace")


class Library:
    """A llama.cpp that was found fit to be called.

    Attributes: path (absolute), origin (how it was found), version ("0.6.0-dev"), layout, raw (the
    functions: `library.raw.llama_print_system_info()`), ffi (types for them).
    """

    ffi = ffi

    def __init__(self, candidate: Candidate) -> None:
        """Opens and checks the file; raises LibraryError with the reason when it is not usable."""
        self.path = candidate.path
        self.origin = candidate.origin
        self.raw = self._open()
        self.version = self._version()
        self.layout = layout.measure(
            f"{self.path.name} ({self.origin})",
            self.version,
            self._address("llama_model_default_params"),
            self._address("llama_context_default_params"),
        )
        self.table = self._fill_table()
        # silent from here on: the engines hand llama.cpp's log to `logging` (see callbacks.c)
        self.raw.llama_log_set(ffi.NULL if os.environ.get("MODKIT_LLAMA_LOG") else self._quiet(), ffi.NULL)
        self.raw.llama_backend_init()
        self._load_backends()

    def _open(self) -> Raw:
        if sys.platform == "win32":
            os.add_dll_directory(str(self.path.parent))
        try:
            return Raw(self.path)
        except OSError as error:
            raise LibraryError(f"{self.path} ({self.origin}) cannot be loaded: {error}") from None

    def _quiet(self) -> Any:
        return ffi.cast("ggml_log_callback", core_ffi.cast("uintptr_t", core.mk_quiet_log()))

    def _address(self, name: str) -> int:
        try:
            return int(ffi.cast("uintptr_t", getattr(self.raw, name)))
        except AttributeError:
            raise LibraryError(
                f"{self.path.name} ({self.origin}) has no {name}: it is no llama.cpp, or one before 0.5;"
                " install xllamacpp, or point MODKIT_LLAMA at a newer one"
            ) from None

    def _version(self) -> str:
        self._address("llama_version")
        version = _text(self.raw.llama_version())
        numbers = re.match(r"(\d+)\.(\d+)", version)
        if not numbers or (int(numbers[1]), int(numbers[2])) not in SUPPORTED:
            supported = " and ".join(f"{a}.{b}" for a, b in SUPPORTED)
            raise LibraryError(
                f"{self.path.name} ({self.origin}) is llama.cpp {version}; modkit supports {supported}:"
                " install one of those, or point MODKIT_LLAMA at one"
            )
        return version

    def _fill_table(self) -> Any:
        table = core_ffi.new("char[]", core.mk_table_size())
        typed = core_ffi.cast("mk_table *", table)
        index = 0
        while (name := core.mk_table_name(index)) != core_ffi.NULL:
            address = self._address(core_ffi.string(name).decode())
            core.mk_table_set(typed, index, core_ffi.cast("void *", address))
            index += 1
        self._table_memory = table
        return typed

    def _load_backends(self) -> None:
        """Builds with one library per backend register none by themselves; they lie beside the library."""
        if not any(device.kind == "cpu" for device in self.devices()):
            self.raw.ggml_backend_load_all_from_path(str(self.path.parent).encode())
        if not self.devices():
            raise LibraryError(
                f"{self.path} has no CPU backend beside it: keep the libggml-cpu files in {self.path.parent}"
            )

    def devices(self) -> list[Device]:
        """What ggml can compute on here, best first as it lists them."""
        kinds = {0: "cpu", 1: "gpu", 2: "igpu", 3: "accelerator"}
        found = []
        for index in range(self.raw.ggml_backend_dev_count()):
            device = self.raw.ggml_backend_dev_get(index)
            free, total = ffi.new("size_t *"), ffi.new("size_t *")
            self.raw.ggml_backend_dev_memory(device, free, total)
            found.append(
                Device(
                    _text(self.raw.ggml_backend_dev_name(device)),
                    _text(self.raw.ggml_backend_dev_description(device)),
                    kinds.get(self.raw.ggml_backend_dev_type(device), "other"),
                    free[0],
                    total[0],
                )
            )
        return found

    def gpus(self) -> list[Device]:
        """The devices that llama.cpp gives layers to: graphics cards, or the processor's own where there is none."""
        devices = self.devices()
        return [d for d in devices if d.kind == "gpu"] or [d for d in devices if d.kind == "igpu"][:1]

    def has_gpu(self) -> bool:
        """Whether it knows a GPU on this machine."""
        return bool(self.gpus())

    def system_info(self) -> str:
        """llama.cpp's own line about CPU features, e.g. "CPU : AVX2 = 1 | FMA = 1"."""
        return _text(self.raw.llama_print_system_info()).strip()

    def model_params(self) -> tuple[Any, Any]:
        """Default model params: the block to pass by value (`block[0]`), and a view with named fields."""
        block = ffi.new("mk_params *", self.raw.llama_model_default_params())
        return block, self.layout.model_params(block)

    def context_params(self) -> tuple[Any, Any]:
        """Default context params, as model_params()."""
        block = ffi.new("mk_params *", self.raw.llama_context_default_params())
        return block, self.layout.context_params(block)

    def set_terminate(self) -> Any:
        """std::set_terminate of the C++ runtime behind the library as a core `void *`, or NULL."""
        try:
            address = int(ffi.cast("uintptr_t", ffi.addressof(self.raw.main, "_ZSt13set_terminatePFvvE")))
        except (AttributeError, ffi.error):
            return core_ffi.NULL
        return core_ffi.cast("void *", address)

    def __repr__(self) -> str:
        return f"Library({str(self.path)!r}, version={self.version!r}, origin={self.origin!r})"


def load(path: str | os.PathLike[str] | None = None) -> Library:
    """The llama.cpp to use: the first candidate that passes its checks (see modkit.native.find).

    `path` (a file or a folder) or MODKIT_LLAMA allows only that one. Raises LibraryError that says what
    was tried and what to do. Any thread, though best before the first frame: opening takes some 10 ms.
    """
    tried: list[str] = []
    for candidate in candidates(path):
        if candidate.path in _loaded:
            return _loaded[candidate.path]
        try:
            library = Library(candidate)
        except LibraryError as error:
            tried.append(str(error))
            continue
        for reason in tried:
            log.warning("passed over: %s", reason)
        log.info("llama.cpp %s from %s (%s)", library.version, library.path, library.origin)
        _loaded[candidate.path] = library
        return library
    if tried:
        raise LibraryError("; ".join(tried))
    raise LibraryError(
        "no llama.cpp was found: `pip install xllamacpp` (Linux, macOS),"
        " or set MODKIT_LLAMA to a libllama file or its folder"
    )
