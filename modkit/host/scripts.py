"""Running a mod's script: each load gets a fresh package of its own, with a name that nothing else has.

The script is the package itself, so `from . import talk` finds talk.py beside it and nothing outside the
mod's folder. The package stays in `sys.modules` while the mod is loaded, because dataclasses and typing look
their module up there, and goes with it. No bytecode is written: a mod's folder may be read-only, and a reload
must never meet a stale file.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import itertools
import sys
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modkit.host.folder import Folder

__all__ = ["Script"]

_numbers = itertools.count(1)


class _Source(importlib.abc.InspectLoader):
    """Loads one module from a file of the mod."""

    def __init__(self, folder: Folder, file: str, package: bool) -> None:
        self._folder = folder
        self._file = file
        self._package = package

    def is_package(self, fullname: str) -> bool:
        return self._package

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self._folder.read(self._file))

    def get_code(self, fullname: str) -> CodeType:
        path = str(self._folder.path(self._file))
        return compile(self._folder.read(self._file), path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(self._folder.path(self._file))
        exec(self.get_code(module.__name__), module.__dict__)


class Script(importlib.abc.MetaPathFinder):
    """The package of one loaded mod. `close()` takes it out of the import system."""

    def __init__(self, ident: str, folder: Folder, entry: str) -> None:
        self.name = f"modkit_mod_{next(_numbers)}_{ident.replace('-', '_')}"
        self._folder = folder
        self._entry = entry
        self._prefix = self.name + "."

    def load(self) -> None:
        """Compile and run the script's top level; raises whatever the script raises."""
        module = importlib.util.module_from_spec(self._spec(self.name, self._entry, package=True))
        sys.modules[self.name] = module
        sys.meta_path.insert(0, self)
        assert module.__spec__ is not None and module.__spec__.loader is not None
        module.__spec__.loader.exec_module(module)

    def close(self) -> None:
        """Forget the package and its modules. May be called twice."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        for name in [n for n in sys.modules if n == self.name or n.startswith(self._prefix)]:
            del sys.modules[name]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A module of this mod; None for every other name."""
        if not fullname.startswith(self._prefix):
            return None
        stem = fullname[len(self._prefix) :].replace(".", "/")
        for file, package in ((stem + "/__init__.py", True), (stem + ".py", False)):
            if self._folder.has(file):
                return self._spec(fullname, file, package)
        return None

    def _spec(self, name: str, file: str, package: bool) -> ModuleSpec:
        spec = ModuleSpec(name, _Source(self._folder, file, package), origin=file, is_package=package)
        return spec
