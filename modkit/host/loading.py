"""Finding the mods of a folder and running their scripts, with one sentence and the fix for each that
fails."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modkit.errors import ModError, ModkitError
from modkit.host.guard import attempt
from modkit.host.hooks import loading

if TYPE_CHECKING:
    from modkit.host.mod import Mod
    from modkit.host.scripts import Script

__all__ = ["find_mods", "load_script"]


def find_mods(mods_dir: Path) -> list[Path]:
    """The folders in `mods_dir`, by name; hidden ones and those that begin with `_` are left out."""
    if not mods_dir.is_dir():
        raise ModError(f"{mods_dir} is not a folder; give the folder that holds one folder per mod.")
    return sorted(path for path in mods_dir.iterdir() if path.is_dir() and path.name[0] not in "._")


def load_script(mod: Mod, script: Script) -> None:
    """Run the script's top level, which registers; raises `ModError` whose cause is what went wrong."""
    with loading(mod):
        _, error = attempt(script.load)
    if error is not None:
        raise ModError(_sentence(mod, error)) from error


def _sentence(mod: Mod, error: BaseException) -> str:
    entry = mod.manifest.entry
    if isinstance(error, SyntaxError):
        where = f"{Path(error.filename or entry).name} line {error.lineno}"
        return f"Mod {mod.id!r} did not load: {where}: {error.msg}; correct that line and load it again."
    place = f"{entry}{_line(mod, error)}"
    if isinstance(error, ModkitError):
        return f"Mod {mod.id!r} did not load: {place}: {error}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        if "." not in error.name and (mod.folder / f"{error.name}.py").is_file():
            fix = f"write: from . import {error.name}"
        else:
            fix = f"put {error.name} where the game's Python finds it, or do without"
        return f"Mod {mod.id!r} did not load: {place}: there is no module {error.name!r}; {fix}."
    text, failed = attempt(str, error)
    what = type(error).__name__ + (f": {text}" if text and not failed else "")
    return f"Mod {mod.id!r} did not load: {place}: {what}; correct it (the top level should only register)."


def _line(mod: Mod, error: BaseException) -> str:
    """The last line of the mod's entry script that the error passed through."""
    line = None
    entry = str(mod.path(mod.manifest.entry))
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == entry:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" line {line}" if line else ""
