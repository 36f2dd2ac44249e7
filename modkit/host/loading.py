"""Finding the mods of a folder, reading and compiling one, and running its script, with one sentence and the fix
for each that fails."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modkit.errors import ModError, ModkitError
from modkit.host.folder import Folder, open_folder
from modkit.host.hooks import loading
from modkit.host.manifest import Manifest, read_manifest
from modkit.host.policy import attempt
from modkit.host.scripts import Code, Script, compile_all

if TYPE_CHECKING:
    from modkit.host.mod import Mod

__all__ = ["Prepared", "find_mods", "fingerprint", "load_script", "prepare", "prepare_manifest"]


@dataclass
class Prepared:
    """A mod that was read and compiled, and has not run. `folder` is to be closed by whoever lets go of it."""

    folder: Folder
    manifest: Manifest
    codes: dict[str, Code]

    def script(self) -> Script:
        """A fresh package of it."""
        return Script(self.manifest.id, self.folder, self.manifest.entry, self.codes)


def find_mods(mods_dir: Path) -> list[Path]:
    """The folders and zips in `mods_dir`, by name; hidden ones and those that begin with `_` are left out."""
    if not mods_dir.is_dir():
        raise ModError(f"{mods_dir} is not a folder; give the folder that holds one folder per mod.")
    return sorted(
        path
        for path in mods_dir.iterdir()
        if path.name[0] not in "._" and (path.is_dir() or path.suffix.lower() == ".zip")
    )


def prepare_manifest(source: Path) -> tuple[Folder, Manifest]:
    """Open a mod's folder or zip and read its manifest; raises `ModError`."""
    folder = open_folder(source)
    try:
        return folder, read_manifest(folder)
    except BaseException:
        folder.close()
        raise


def prepare(source: Path) -> Prepared:
    """Read and compile a mod. Any thread may; nothing of the mod runs. Raises `ModError`."""
    folder, manifest = prepare_manifest(source)
    try:
        return Prepared(folder, manifest, compile_mod(folder, manifest))
    except BaseException:
        folder.close()
        raise


def compile_mod(folder: Folder, manifest: Manifest) -> dict[str, Code]:
    """Compile a mod's scripts; raises `ModError` when the entry does not compile."""
    try:
        return compile_all(folder, manifest.entry)
    except ModError:
        raise
    except Exception as error:
        raise ModError(_sentence(manifest, folder, error)) from error


def fingerprint(source: Path) -> tuple[object, ...]:
    """Something that is another when the mod's manifest or scripts are. Reads the folder, not the files."""
    try:
        files = [source] if source.is_file() else [source / "mod.toml", *sorted(source.rglob("*.py"))]
        stats = [(path, path.stat()) for path in files]
    except OSError:
        return ()
    return tuple((str(path), stat.st_mtime_ns, stat.st_size) for path, stat in stats)


def load_script(mod: Mod, script: Script) -> None:
    """Run the script's top level, which registers; raises `ModError` whose cause is what went wrong."""
    with loading(mod):
        _, error = attempt(script.load)
    if error is not None:
        raise ModError(_sentence(mod.manifest, mod._files, error)) from error


def _sentence(manifest: Manifest, folder: Folder, error: BaseException) -> str:
    entry = manifest.entry
    who = f"Mod {manifest.id!r} did not load"
    if isinstance(error, SyntaxError):
        where = f"{Path(error.filename or entry).name} line {error.lineno}"
        return f"{who}: {where}: {error.msg}; correct that line and load it again."
    place = f"{entry}{_line(folder, entry, error)}"
    if isinstance(error, ModkitError):
        return f"{who}: {place}: {error}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        if "." not in error.name and (folder.root / f"{error.name}.py").is_file():
            fix = f"write: from . import {error.name}"
        else:
            fix = f"put {error.name} where the game's Python finds it, or do without"
        return f"{who}: {place}: there is no module {error.name!r}; {fix}."
    text, failed = attempt(str, error)
    what = type(error).__name__ + (f": {text}" if text and not failed else "")
    return f"{who}: {place}: {what}; correct it (the top level should only register)."


def _line(folder: Folder, entry: str, error: BaseException) -> str:
    """The last line of the mod's entry script that the error passed through."""
    line = None
    path = str(folder.path(entry))
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" line {line}" if line else ""
