"""Running a mod's script: each load gets a fresh package of its own, with a name that nothing else has.

The script is the package itself, so `from . import talk` finds talk.py beside it and nothing outside the
mod's folder. The package stays in `sys.modules` while the mod is loaded, because dataclasses and typing look
their module up there, and goes with it. No bytecode is written: a mod's folder may be read-only, and a reload
must never meet a stale file.

Reading and compiling (`compile_all`) touch nothing of the process and may run on any thread; `Script` belongs
to the host's.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import TYPE_CHECKING

from modkit.errors import ModError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.abc import InspectLoader, MetaPathFinder

    from modkit.host.folder import Folder
else:
    InspectLoader = MetaPathFinder = object  # importlib.abc loads tempfile and five compressors; nothing of it is used

__all__ = ["Code", "Script", "compile_all"]

MAX_SCRIPTS = 2000

Code = CodeType | Exception
"""A compiled file, or why it did not compile; that is raised when, and only when, the file is imported."""

_numbers = itertools.count(1)
_loaded: dict[str, Script] = {}


def compile_all(folder: Folder, entry: str) -> dict[str, Code]:
    """Every script of the mod, compiled, by its name in the folder. Raises what the entry itself raises."""
    codes: dict[str, Code] = {}
    names = sorted(path.relative_to(folder.root).as_posix() for path in folder.root.rglob("*.py"))
    if len(names) > MAX_SCRIPTS:
        raise ModError(f"{folder.source} holds {len(names):,} scripts; a mod may have {MAX_SCRIPTS:,}.")
    for name in dict.fromkeys([entry, *names]):
        try:
            data = folder.read(name)
            codes[name] = compile(data, str(folder.path(name)), "exec", dont_inherit=True)
        except RecursionError:
            codes[name] = ModError(f"{folder.shown(name)} nests its code too deep; split it.")
        except (SyntaxError, ValueError, ModError) as error:
            codes[name] = error
    broken = codes[entry]
    if isinstance(broken, Exception):
        raise broken
    return codes


class _Source(InspectLoader):
    """Loads one module from a file of the mod."""

    def __init__(self, script: Script, file: str, package: bool) -> None:
        self._script = script
        self._file = file
        self._package = package

    def create_module(self, spec: ModuleSpec) -> None:
        """None: an ordinary module."""

    def is_package(self, fullname: str) -> bool:
        return self._package

    def get_source(self, fullname: str) -> str:
        return importlib.util.decode_source(self._script.folder.read(self._file))

    def get_code(self, fullname: str) -> CodeType:
        code = self._script.codes[self._file]
        if isinstance(code, Exception):
            raise code
        return code

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(self._script.folder.path(self._file))
        exec(self.get_code(module.__name__), module.__dict__)


class Script:
    """The package of one loaded mod. `close()` takes it out of the import system."""

    far = False
    """Whether it runs in another process (a `Worker` does)."""

    def __init__(self, ident: str, folder: Folder, entry: str, codes: Mapping[str, Code]) -> None:
        self.name = f"modkit_mod_{next(_numbers)}_{ident.replace('-', '_')}"
        self.folder = folder
        self.codes = codes
        self._entry = entry

    def load(self) -> None:
        """Run the script's top level; raises whatever the script raises."""
        module = importlib.util.module_from_spec(self._spec(self.name, self._entry, package=True))
        sys.modules[self.name] = module
        _loaded[self.name] = self
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)
        assert module.__spec__ is not None and module.__spec__.loader is not None
        module.__spec__.loader.exec_module(module)

    def close(self) -> None:
        """Forget the package and its modules. May be called twice."""
        if _loaded.pop(self.name, None) is not None and not _loaded and _finder in sys.meta_path:
            sys.meta_path.remove(_finder)
        for name in [n for n in sys.modules if n == self.name or n.startswith(self.name + ".")]:
            del sys.modules[name]

    def find(self, stem: str, fullname: str) -> ModuleSpec | None:
        """The spec of a module of this mod, given its path without the ending."""
        for file, package in ((stem + "/__init__.py", True), (stem + ".py", False)):
            if file in self.codes:
                return self._spec(fullname, file, package)
        return None

    def _spec(self, name: str, file: str, package: bool) -> ModuleSpec:
        return ModuleSpec(name, _Source(self, file, package), origin=file, is_package=package)


class _Finder(MetaPathFinder):
    """One for all mods: a hundred finders would slow every import of the game."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, dot, rest = fullname.partition(".")
        script = _loaded.get(package) if dot else None
        return None if script is None else script.find(rest.replace(".", "/"), fullname)


_finder = _Finder()
