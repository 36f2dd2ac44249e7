"""Which program can run our child: a real Python, never whatever sys.executable happens to name.

Inside a game sys.executable is the game (starting it again would open a second game), or empty.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from modkit.errors import OptionError

__all__ = ["command", "find_python", "package_folders"]

_PACKAGES = ("msgpack", "cffi", "_cffi_backend", "jinja2", "markupsafe", "apsw", "sqlite_vec", "tomli", "packaging")
_NAME = re.compile(r"(python|pythonw|pypy)\d*(\.\d+)?t?(\.exe)?", re.IGNORECASE)


def find_python(python: str | os.PathLike[str] | None = None) -> str:
    """The path of a Python: the one named (here or in MODKIT_PYTHON), else one that belongs to this process.

    Looks at names only; whether it really runs modkit shows when the child says hello. Raises OptionError.
    """
    named = python or os.environ.get("MODKIT_PYTHON")
    if named:
        found = shutil.which(os.fspath(named))
        if found is None:
            origin = f"python={os.fspath(named)!r}" if python else f"MODKIT_PYTHON={named}"
            raise OptionError(f"{origin} is not a program that can be run: name the Python to start the child with")
        return found
    for path in _own_pythons():
        if _NAME.fullmatch(path.name) and path.is_file() and os.access(path, os.X_OK):
            return str(path)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    raise OptionError(
        f"this process ({sys.executable or 'an embedded Python'}) is not a Python that could run the child, and none "
        f"was found beside it: give python=PATH of a Python {version}, or set MODKIT_PYTHON"
    )


def _own_pythons() -> Iterator[Path]:
    if not getattr(sys, "frozen", False):
        for name in (sys.executable, getattr(sys, "_base_executable", "")):
            if name:
                yield Path(name)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    names = ("python.exe",) if sys.platform == "win32" else (f"python{version}", "python3", "python")
    for prefix in dict.fromkeys((sys.exec_prefix, sys.base_exec_prefix)):
        folder = Path(prefix) if sys.platform == "win32" else Path(prefix, "bin")
        for name in names[:1]:  # beside this very installation: only the exact version counts
            yield folder / name
    on_path = shutil.which(f"python{version}")  # the extension modules of this version fit no other
    if on_path:
        yield Path(on_path)


def package_folders() -> list[str]:
    """The folders that the child needs on its sys.path: where this process found what modkit stands on."""
    from modkit.native.find import package_folder

    folders = [Path(__file__).resolve().parent.parent.parent]
    for name in _PACKAGES:
        module = sys.modules.get(name)
        where = getattr(module, "__file__", None)
        if where:
            folders.append(Path(where).parent.parent if hasattr(module, "__path__") else Path(where).parent)
        else:
            folders += _on_path(name)
    for name in ("llama_cpp", "xllamacpp"):
        package = package_folder(name)
        if package is not None:
            folders.append(package.absolute().parent)
    return list(dict.fromkeys(str(folder) for folder in folders))


def _on_path(name: str) -> list[Path]:
    for entry in sys.path:
        folder = Path(entry or ".").absolute()
        if (folder / name / "__init__.py").is_file() or (folder / f"{name}.py").is_file():
            return [folder]
    return []


def command(python: str, module: str, *arguments: str) -> list[str]:
    """A command line that runs modkit's `module` in a Python of its own: isolated from the user's site folders
    and environment, with just the folders that this process found its packages in."""
    code = (
        "import sys\n"
        "n = int(sys.argv[1])\n"
        "sys.path += sys.argv[2:2 + n]\n"
        "sys.argv[1:2 + n] = []\n"
        f"from {module} import main\n"
        "main(sys.argv[1:])\n"
    )
    folders = package_folders()
    return [python, "-I", "-S", "-c", code, str(len(folders)), *folders, *arguments]
