"""Where a llama.cpp may lie on this machine.

In order: what the caller names, the MODKIT_LLAMA environment variable (a file or a folder), a folder
`lib` beside this file (for games that ship one), the build that `modkit llama install` brought, the
installed Python packages llama_cpp and xllamacpp (found, never imported), the system's library folders.
Only looks at names; opens nothing. Any thread.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modkit.errors import LibraryError
from modkit.native.folders import data_folder

__all__ = [
    "CURRENT",
    "Candidate",
    "builds_folder",
    "candidates",
    "chosen_build",
    "is_library",
    "library_in",
    "package_folder",
]

CURRENT = "current"  # the file that names the build in use

_SYSTEM_FOLDERS = ("/usr/local/lib", "/usr/lib", "/usr/lib64", "/opt/homebrew/lib")
# (module, where its library lies inside the package)
_PACKAGES = (("llama_cpp", "lib"), ("xllamacpp", ""))


@dataclass(frozen=True)
class Candidate:
    """A library file and how it was found."""

    path: Path
    origin: str


def is_library(name: str) -> bool:
    lower = name.lower()
    if lower.startswith(("libllama-common", "libllama_common")):
        return False
    stem_fits = lower.startswith(("libllama", "llama.", "xllamacpp."))
    return stem_fits and (".so" in lower or lower.endswith((".dll", ".dylib", ".pyd")))


def library_in(folder: Path) -> Path | None:
    """The llama.cpp library in a folder, or None. The shortest name wins (a link over a versioned file)."""
    try:
        names = sorted((p for p in folder.iterdir() if is_library(p.name)), key=lambda p: (len(p.name), p.name))
    except OSError:
        return None
    return names[0].resolve() if names else None


def builds_folder() -> Path:
    """Where `modkit llama install` puts builds; see modkit.native.builds."""
    return data_folder() / "llama"


def chosen_build() -> Path | None:
    """The library of the build that the user chose, or None."""
    try:
        name = (builds_folder() / CURRENT).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    harmless = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,80}", name)
    return library_in(builds_folder() / name) if harmless else None


def package_folder(module: str) -> Path | None:
    """Folder of an installed package, looked up on sys.path without importing anything."""
    for entry in sys.path:
        folder = Path(entry or ".") / module
        if (folder / "__init__.py").is_file():
            return folder
    return None


def _from(path: Path, origin: str) -> Candidate:
    if path.is_dir():
        found = library_in(path)
        if found is None:
            raise LibraryError(
                f"{origin} names the folder {path}, which holds no llama.cpp library (libllama.so, llama.dll)"
            )
        return Candidate(found, origin)
    if not path.is_file():
        raise LibraryError(f"{origin} names {path}, which does not exist")
    return Candidate(path.resolve(), origin)


def candidates(path: str | os.PathLike[str] | None = None) -> Iterator[Candidate]:
    """Every library worth trying, best first. A named one (argument or variable) is the only one.

    Raises LibraryError when the named one is not there.
    """
    named = os.environ.get("MODKIT_LLAMA")
    if path is not None:
        yield _from(Path(path), "the library argument")
        return
    if named:
        yield _from(Path(named), "MODKIT_LLAMA")
        return
    bundled = library_in(Path(__file__).parent / "lib")
    if bundled:
        yield Candidate(bundled, "bundled with modkit")
    chosen = chosen_build()
    if chosen:
        yield Candidate(chosen, "modkit llama install")
    for module, inside in _PACKAGES:
        folder = package_folder(module)
        found = library_in(folder / inside) if folder else None
        if found:
            yield Candidate(found, f"the Python package {module}")
    for system in _SYSTEM_FOLDERS:
        found = library_in(Path(system))
        if found:
            yield Candidate(found, "the system")
