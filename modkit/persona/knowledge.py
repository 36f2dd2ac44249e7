"""Who may know what, and what nobody said: rules and lore that a mod's author writes beside the dumps.

    [[lines]]                     # from here on: lines of these scenes…
    scene = "q004*"
    quest = "q004"                # …belong to this quest,
    when = "quest.q004 >= 3"      # …and come to mind only while this holds

    [[lore]]
    text = "The ferry sank in the spring flood, with nobody on board."
    keys = ["ferry", "flood"]     # words it is found by, beside its own
    when = "flag.flood"

A TOML file, or the same as Python objects. Patterns are shell patterns over scene, file, speaker, kind, id or
text, case folded; what a rule names must all match, and every rule that matches counts. Nothing here is run.
"""

from __future__ import annotations

import fnmatch
import importlib
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modkit.errors import OptionError, PersonaError
from modkit.persona.gates import Gate
from modkit.persona.lines import Line, display_path, tidy

__all__ = ["Knowledge", "Lore", "Rule"]

MAX_BYTES = 16 * 1024 * 1024
_FIELDS = ("scene", "file", "speaker", "kind", "id", "text")


@dataclass(frozen=True)
class Lore:
    """Something this character knows that is no line: `keys` are more words to find it by, `when` its gate."""

    text: str
    keys: tuple[str, ...] = ()
    when: str | None = None
    quest: str | None = None
    title: str | None = None


@dataclass(frozen=True)
class Rule:
    """For lines that `match` (field to pattern): the gate `when` and the `quest` they belong to."""

    match: Mapping[str, str]
    when: str | None = None
    quest: str | None = None

    def patterns(self) -> dict[str, re.Pattern[str]]:
        """Its patterns, compiled; raises OptionError for a field that lines do not have."""
        unknown = [name for name in self.match if name not in _FIELDS]
        if unknown or not self.match:
            what = f"{unknown[0]!r} is no field of a line" if unknown else "it names no field"
            raise OptionError(f"a rule for lines: {what}; use {', '.join(_FIELDS)}")
        return {name: re.compile(fnmatch.translate(str(text).casefold())) for name, text in self.match.items()}


@dataclass
class Knowledge:
    """Rules and lore. Made in Python, or by `Knowledge.read` from a TOML file."""

    rules: list[Rule] = field(default_factory=list)
    lore: list[Lore] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._compiled = [(rule, rule.patterns()) for rule in self.rules]
        for when in (*(rule.when for rule in self.rules), *(entry.when for entry in self.lore)):
            if when is not None:
                Gate.parse(when)

    @classmethod
    def read(cls, path: str | Path) -> Knowledge:
        """From a TOML file. Raises PersonaError, with the file's name, for what cannot be read or understood."""
        path = Path(path)
        name = display_path(path)
        # Python 3.10 has tomli in place of tomllib; modkit's own requirements bring it
        tomllib: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
        try:
            with path.open("rb") as file:
                data = tomllib.loads(file.read(MAX_BYTES).decode("utf-8-sig"))
            return cls.of(data)
        except OSError as error:
            raise PersonaError(f"{name} cannot be read: {error.strerror or error}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise PersonaError(f"{name} is no TOML: {error}") from None
        except OptionError as error:
            raise PersonaError(f"{name}: {error}") from None

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Knowledge:
        """From plain data as the TOML file has it. Raises OptionError."""
        rules = []
        for row in _tables(data, "lines"):
            match = {key: str(value) for key, value in row.items() if key not in ("when", "quest")}
            rules.append(Rule(match, _text(row, "when"), _text(row, "quest")))
        lore = []
        for row in _tables(data, "lore"):
            words = tidy(str(row.get("text", "")))
            keys = row.get("keys", [])
            if not words or not isinstance(keys, list):
                raise OptionError("a [[lore]] entry needs a text, and its keys are a list of words")
            lore.append(
                Lore(words, tuple(tidy(str(key)) for key in keys), _text(row, "when"), _text(row, "quest"),
                     _text(row, "title"))
            )  # fmt: skip
        return cls(rules, lore)

    def of_line(self, line: Line) -> tuple[str | None, str | None]:
        """(gate, quest) of a line; several gates are joined with `and`, the last quest counts."""
        when: list[str] = []
        quest = None
        for rule, patterns in self._compiled:
            if all(pattern.match(_value(line, name)) for name, pattern in patterns.items()):
                if rule.when and rule.when not in when:
                    when.append(rule.when)
                quest = rule.quest or quest
        if len(when) > 1:
            return " and ".join(f"({expression})" for expression in when), quest
        return (when[0] if when else None), quest


def _value(line: Line, name: str) -> str:
    values = {
        "scene": line.scene, "file": line.source.file, "speaker": line.speaker,
        "kind": line.kind, "id": line.id, "text": line.text,
    }  # fmt: skip
    return (values[name] or "").casefold()


def _tables(data: Mapping[str, Any], name: str) -> Iterable[Mapping[str, Any]]:
    rows = data.get(name, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise OptionError(f"[[{name}]] is a list of tables, such as [[{name}]] and its keys below")
    return rows


def _text(row: Mapping[str, Any], key: str) -> str | None:
    value = row.get(key)
    if value is not None and not isinstance(value, str):
        raise OptionError(f"{key} is a text, not {type(value).__name__}")
    return value or None
