"""`mod.toml`: what a mod says about itself.

    id = "harbour"            # required: a-z, 0-9, _ and -, starting with a letter; unique in the host
    name = "The harbour"      # default: the id
    version = "1.0"           # default: "0"
    entry = "main.py"         # default: main.py; a path inside the mod's folder

Keys that this version does not know are kept in `Manifest.extra`, so a newer mod still loads in an older
host.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modkit.errors import ModError

if TYPE_CHECKING:
    from modkit.host.folder import Folder

__all__ = ["Manifest", "read_manifest"]

FILE = "mod.toml"
_ID = re.compile(r"[a-z][a-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Manifest:
    """The facts of a `mod.toml`. `extra` holds every key that has no field here."""

    id: str
    name: str
    version: str = "0"
    entry: str = "main.py"
    extra: dict[str, Any] = field(default_factory=dict)


def read_manifest(folder: Folder) -> Manifest:
    """Read and check the manifest of a mod; raises `ModError` with a sentence that says what to change."""
    where = folder.root / FILE
    if not folder.has(FILE):
        raise ModError(
            f'{folder.root} has no {FILE}; add one with at least: id = "{_suggest(folder.root.name)}"'
        )
    values = _parse(folder.read(FILE), str(where))
    ident = _text(values, "id", None, str(where))
    if not _ID.fullmatch(ident):
        raise ModError(
            f'{where}: id {ident!r} is not usable; take a-z, 0-9, _ and -, as in id = "{_suggest(ident)}".'
        )
    manifest = Manifest(
        id=ident,
        name=_text(values, "name", ident, str(where)),
        version=_text(values, "version", "0", str(where)),
        entry=_text(values, "entry", "main.py", str(where)),
        extra=values,
    )
    if not folder.has(manifest.entry):
        raise ModError(
            f"{where}: the entry {manifest.entry!r} is not a file in the mod's folder; add or correct it."
        )
    return manifest


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
    if not isinstance(value, str) or not value.strip():
        raise ModError(f"{where}: {key} is {value!r}, but must be a text in quotes.")
    return value


def _suggest(text: str) -> str:
    plain = re.sub(r"[^a-z0-9_-]+", "_", text.lower()).strip("_-")[:64]
    return plain if _ID.fullmatch(plain) else "my_mod"
