"""`mod.toml`: what a mod says about itself.

    id = "harbour"            # required: a-z, 0-9, _ and -, starting with a letter; unique in the host
    name = "The harbour"      # default: the id
    version = "1.0"           # default: "0"; numbers, so that a range can be compared with it
    authors = ["A. Keeper"]   # default: nobody
    modkit = ">=0.1"          # default: any; which modkit it works with
    entry = "main.py"         # default: main.py; a path inside the mod's folder
    run = "frame"             # default: frame; "worker": in a process of its own
    requires = ["? weather"]  # default: nothing; see requires.py
    permissions = ["files"]   # default: none; see PERMISSIONS
    [settings.volume]         # see settings.py

Keys that this version does not know are kept in `Manifest.extra`, so a newer mod still loads in an older
host.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modkit.errors import ModError
from modkit.host.requires import Requirement, check_range, check_version, satisfies
from modkit.host.settings import Setting, parse_settings

if TYPE_CHECKING:
    from modkit.host.folder import Folder

__all__ = ["PERMISSIONS", "Manifest", "read_manifest"]

FILE = "mod.toml"
PERMISSIONS = {
    "files": "writes files in its own folder",
    "native": "loads libraries that are not Python",
    "network": "talks to other machines",
    "process": "starts programs",
    "threads": "runs threads of its own",
}
"""What a mod can ask for. A statement to the player and the host, not a wall: see docs/mods.md."""
_ID = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_RUN = ("frame", "worker")


@dataclass(frozen=True)
class Manifest:
    """The facts of a `mod.toml`. `extra` holds every key that has no field here."""

    id: str
    name: str
    version: str = "0"
    entry: str = "main.py"
    authors: tuple[str, ...] = ()
    modkit: str = ""
    run: str = "frame"
    requires: tuple[Requirement, ...] = ()
    permissions: tuple[str, ...] = ()
    settings: dict[str, Setting] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)


def read_manifest(folder: Folder) -> Manifest:
    """Read and check the manifest of a mod; raises `ModError` with a sentence that says what to change."""
    where = folder.shown(FILE)
    if not folder.has(FILE):
        raise ModError(
            f'{folder.source} has no {FILE}; add one with at least: id = "{_suggest(folder.source.stem)}"'
        )
    values = _parse(folder.read(FILE), where)
    ident = _text(values, "id", None, where)
    if not _ID.fullmatch(ident):
        raise ModError(
            f'{where}: id {ident!r} is not usable; take a-z, 0-9, _ and -, as in id = "{_suggest(ident)}".'
        )
    run = _text(values, "run", "frame", where)
    if run not in _RUN:
        raise ModError(f'{where}: run is {run!r}; it must be "frame" or "worker".')
    manifest = Manifest(
        id=ident,
        name=_text(values, "name", ident, where),
        version=check_version(_text(values, "version", "0", where), where),
        entry=_text(values, "entry", "main.py", where),
        authors=_texts(values, "authors", where),
        modkit=check_range(_text(values, "modkit", "", where), where),
        run=run,
        requires=_requires(values, ident, where),
        permissions=_permissions(values, where),
        settings=parse_settings(values.pop("settings", {}), where),
        extra=values,
    )
    _check_modkit(manifest, where)
    if not folder.has(manifest.entry):
        raise ModError(
            f"{where}: the entry {manifest.entry!r} is not a file in the mod's folder; add or correct it."
        )
    return manifest


def _check_modkit(manifest: Manifest, where: str) -> None:
    from modkit import __version__

    if not satisfies(__version__, manifest.modkit):
        raise ModError(
            f"{where}: mod {manifest.id!r} is for modkit {manifest.modkit} and this is {__version__}; "
            "take another version of the mod, or of modkit."
        )


def _requires(values: dict[str, Any], ident: str, where: str) -> tuple[Requirement, ...]:
    entries = values.pop("requires", [])
    if not isinstance(entries, list):
        raise ModError(f"{where}: requires is {entries!r}, but must be a list of texts.")
    found = tuple(Requirement.parse(entry, where) for entry in entries)
    names = [requirement.id for requirement in found]
    for name in names:
        if name == ident:
            raise ModError(f"{where}: the mod requires itself; take {name!r} out of requires.")
        if names.count(name) > 1:
            raise ModError(f"{where}: requires has {name!r} twice; keep one of them.")
    return found


def _permissions(values: dict[str, Any], where: str) -> tuple[str, ...]:
    found = _texts(values, "permissions", where)
    for name in found:
        if name not in PERMISSIONS:
            raise ModError(f"{where}: there is no permission {name!r}; there are: {', '.join(PERMISSIONS)}.")
    return found


def _parse(data: bytes, where: str) -> dict[str, Any]:
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ModError(f"{where} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from None
    toml = _toml()
    try:
        values: dict[str, Any] = toml.loads(text)
    except toml.TOMLDecodeError as error:
        raise ModError(f"{where} is not valid TOML: {error}; correct that place.") from None
    except RecursionError:
        raise ModError(f"{where} nests its values too deep; flatten them.") from None
    return values


def _toml() -> Any:
    for name in ("tomllib", "tomli"):  # the second is what Python 3.10 has, if installed
        if importlib.util.find_spec(name):
            return importlib.import_module(name)
    raise ModError("Python 3.10 reads mod.toml with the package tomli: pip install tomli.")


def _text(values: dict[str, Any], key: str, default: str | None, where: str) -> str:
    value = values.pop(key, default)
    if value is None:
        raise ModError(f'{where} has no {key}; add a line such as {key} = "my_mod".')
    if not isinstance(value, str) or not (value.strip() or value == default):
        raise ModError(f"{where}: {key} is {value!r}, but must be a text in quotes.")
    return value


def _texts(values: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = values.pop(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
        raise ModError(f'{where}: {key} is {value!r}, but must be a list of texts, as in {key} = ["one"].')
    return tuple(value)


def _suggest(text: str) -> str:
    plain = re.sub(r"[^a-z0-9_-]+", "_", text.lower()).strip("_-")[:64]
    return plain if _ID.fullmatch(plain) else "my_mod"
