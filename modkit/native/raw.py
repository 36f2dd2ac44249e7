"""Every function of llama.cpp by its own name, with its types: `library.raw.llama_print_system_info()`.

A llama.cpp may be one file or several (llama, ggml, ggml-base, a CPU backend picked at run time), and
only some systems look a name up in all of them; `Raw` does. It is 1:1 with the headers except that the
model and context params travel as opaque blocks (see Library.model_params), because their layout differs
between versions. Calls into a context that an Engine owns belong to that engine's worker alone.
Any thread; a call gives up the GIL while it runs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from modkit.native._core import ffi as core_ffi
from modkit.native._core import lib as core
from modkit.native._llama import ffi

__all__ = ["Raw"]


class Raw:
    """The functions and constants that modkit declares and this library has.

    Attribute access gives a typed function (cffi) or an int; AttributeError with the reason for a name
    that is not declared, or that this build of llama.cpp does not have.
    """

    def __init__(self, path: Path) -> None:
        """Opens the file; raises OSError."""
        self._path = path
        self._parts: list[Any] = [ffi.dlopen(str(path), ffi.RTLD_NOW | ffi.RTLD_LOCAL)]
        self._declared = frozenset(n for n in dir(self._parts[0]) if n.startswith(("llama_", "ggml_", "gguf_")))
        self._opened_all = False

    def __getattr__(self, name: str) -> Any:
        for attempt in (0, 1):
            for part in self._parts:
                try:
                    found = getattr(part, name)
                except (AttributeError, ffi.error):  # not declared, not in this file
                    continue
                setattr(self, name, found)
                return found
            if attempt or name.startswith("_") or self._opened_all:
                break
            self._open_all()
        raise AttributeError(
            f"{self._path.name} has no {name}"
            if name in self._declared
            else f"modkit declares no {name} (modkit/native/llama.cdef.txt)"
        )

    def _open_all(self) -> None:
        """The other files of this llama.cpp: they are in the process already, this only takes hold of them."""
        self._opened_all = True
        files = []
        if sys.platform == "win32":
            files += [self._path.parent / name for name in ("ggml.dll", "ggml-base.dll", "ggml-cpu.dll")]
        backend = self._cpu_backend()
        if backend is not None and backend != self._path:
            files.append(backend)
        for file in files:
            try:
                self._parts.append(ffi.dlopen(str(file), ffi.RTLD_NOW | ffi.RTLD_LOCAL))
            except OSError:
                continue

    def _cpu_backend(self) -> Path | None:
        """The file of the CPU backend that ggml picked, when it is one of its own and loaded."""
        main = self._parts[0]
        try:
            registry = main.ggml_backend_reg_by_name(b"CPU")
            if registry == ffi.NULL:
                return None
            address = main.ggml_backend_reg_get_proc_address(registry, b"ggml_threadpool_new")
        except (AttributeError, ffi.error):
            return None
        if address == ffi.NULL:
            return None
        path = core_ffi.new("char[4096]")
        code = core_ffi.cast("void *", int(ffi.cast("uintptr_t", address)))
        if core.mk_code_path(code, path, 4096) != 0:
            return None
        return Path(core_ffi.string(path).decode("utf-8", "surrogateescape"))

    @property
    def main(self) -> Any:
        """The file that was opened, as cffi sees it."""
        return self._parts[0]

    @property
    def declared(self) -> frozenset[str]:
        """The names of the functions that modkit has types for."""
        return self._declared

    def missing(self) -> frozenset[str]:
        """Of `declared`, what this build of llama.cpp does not export."""
        return frozenset(name for name in self._declared if not hasattr(self, name))

    def __dir__(self) -> list[str]:
        return sorted(self._declared)
