"""Settings that a mod declares in its `mod.toml`, typed and within their ranges, and the values they have.

    [settings.volume]
    type = "float"              # "bool", "int", "float" or "text"
    default = 0.8
    min = 0.0
    max = 1.0
    scope = "game"              # "startup": fixed while loaded; "game": one value for all saves; "save": in the save
    label = "How loud she hums"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from modkit.errors import ModError, OptionError

__all__ = ["Setting", "Settings", "parse_settings"]

_TYPES: dict[str, type] = {"bool": bool, "int": int, "float": float, "text": str}
_SCOPES = ("startup", "game", "save")


@dataclass(frozen=True)
class Setting:
    """One declared setting. `min` and `max` are inclusive; for a text they count characters."""

    name: str
    type: str
    default: Any
    min: float | None = None
    max: float | None = None
    choices: tuple[Any, ...] = ()
    scope: str = "game"
    label: str = ""

    def check(self, value: Any) -> Any:
        """The value as this setting keeps it; raises `OptionError` that says what it may be."""
        kind = _TYPES[self.type]
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        wrong = not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)) or value != value
        size = len(value) if isinstance(value, str) else value
        if not wrong and self.choices:
            wrong = value not in self.choices
        if not wrong and kind is not bool:
            wrong = (self.min is not None and size < self.min) or (self.max is not None and size > self.max)
        if wrong:
            raise OptionError(f"The setting {self.name!r} cannot be {value!r}; it is {self._what()}.")
        return value

    def _what(self) -> str:
        if self.choices:
            return "one of " + ", ".join(repr(choice) for choice in self.choices)
        unit = " characters" if self.type == "text" else ""
        low = "" if self.min is None else f" from {self.min:g}"
        high = "" if self.max is None else f" up to {self.max:g}"
        return {"bool": "true or false", "int": "a whole number", "float": "a number", "text": "a text"}[self.type] + (
            f"{low}{high}{unit}"
        )


class Settings(Mapping[str, Any]):
    """The values of one mod's settings, to read: `mod.settings["volume"]`. The game changes them."""

    def __init__(self, declared: Mapping[str, Setting], given: Mapping[str, Any]) -> None:
        self.declared = declared
        self._values = {name: setting.default for name, setting in declared.items()}
        self.problems: list[str] = []
        """what was given and could not be taken, a sentence each; the default stands for it"""
        for name, value in given.items():
            try:
                if name in declared:  # one that a newer or older version of the mod declares is left alone
                    self._values[name] = declared[name].check(value)
            except OptionError as error:
                self.problems.append(str(error))

    def __getitem__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            known = ", ".join(self._values) or "none"
            raise KeyError(f"{name!r} is not a setting in mod.toml (declared: {known})") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def _change(self, name: str, value: Any) -> Any:
        """Set one, for the host; returns the value before. Raises `OptionError`."""
        setting = self.declared.get(name)
        if setting is None:
            raise OptionError(f"{name!r} is not a setting of this mod; it has: {', '.join(self.declared) or 'none'}.")
        before, self._values[name] = self._values[name], setting.check(value)
        return before


def parse_settings(tables: object, where: str) -> dict[str, Setting]:
    """Read the `[settings]` of a manifest; raises `ModError` that names the setting and what to change."""
    if not isinstance(tables, dict):
        raise ModError(f"{where}: settings is {tables!r}, but must be tables such as [settings.volume].")
    return {name: _parse(name, table, f"{where}: setting {name!r}") for name, table in tables.items()}


def _parse(name: str, table: object, where: str) -> Setting:
    if not isinstance(table, dict):
        raise ModError(f"{where} is {table!r}, but must be a table [settings.{name}].")
    kind = table.get("type")
    if kind not in _TYPES:
        raise ModError(f"{where} has type {kind!r}; it must be one of {', '.join(_TYPES)}.")
    if "default" not in table:
        raise ModError(f"{where} has no default; add one.")
    scope, choices = table.get("scope", "game"), table.get("choices", [])
    if scope not in _SCOPES:
        raise ModError(f"{where} has scope {scope!r}; it must be one of {', '.join(_SCOPES)}.")
    if not isinstance(choices, list) or not isinstance(table.get("label", ""), str):
        raise ModError(f"{where}: choices are a list, label is a text.")
    low, high = _number(table.get("min"), f"{where}: min"), _number(table.get("max"), f"{where}: max")
    bare = Setting(name, kind, None, low, high, (), scope, table.get("label", ""))
    try:
        whole = replace(bare, choices=tuple(bare.check(choice) for choice in choices))
        return replace(whole, default=whole.check(table["default"]))
    except OptionError as error:
        raise ModError(f"{where}: {error}") from None


def _number(value: object, where: str) -> float | None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise ModError(f"{where} is {value!r}, but must be a number.")


