"""A console for a game's developers and for mod authors: lines of text in, lines of text out.

    console = Console(host, allow_eval=True)
    show(console.run("list"))

Made and used on the host's thread. `eval` runs any Python and so is refused unless the game allows it.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from modkit.errors import ModkitError, OptionError
from modkit.host.policy import attempt, describe

if TYPE_CHECKING:
    from modkit.host.host import Host

__all__ = ["Console"]

_HELP = """\
list                     the mods, their states and versions
time                     what each mod took: in all, a call, its longest call
report MOD               all that is known of a mod
reload MOD               exchange it for what is in its folder
suspend MOD, resume MOD  stop it where it is; let it go on
unload MOD               take it out
set MOD NAME VALUE       change a setting (JSON, or a word)
emit EVENT [NAME=VALUE …]  tell the mods
save [FILE]              ask every mod, commit, and copy the save
eval MOD EXPRESSION      Python, among the names of the mod's script (if the game allows it)
help                     this"""


class Console:
    """Commands for one host; `allow_eval` also lets `eval` run Python."""

    def __init__(self, host: Host, *, allow_eval: bool = False) -> None:
        self._host = host
        self._allow_eval = allow_eval
        self._commands: dict[str, Callable[[list[str]], str]] = {
            "list": self._list,
            "time": self._time,
            "report": self._report,
            "reload": self._reload,
            "suspend": self._suspend,
            "resume": self._resume,
            "unload": self._unload,
            "set": self._set,
            "emit": self._emit,
            "save": self._save,
            "help": lambda words: _HELP,
        }

    def run(self, line: str) -> str:
        """Run one command and return what it says; a mistake is said, never raised."""
        command, _, rest = line.strip().partition(" ")
        if not command:
            return ""
        try:
            if command == "eval":
                return self._eval(rest.strip())
            if command not in self._commands:
                return f"There is no command {command!r}; help shows all."
            return self._commands[command](shlex.split(rest))
        except ModkitError as error:
            return str(error)
        except ValueError as error:  # from shlex: a quote that is not closed
            return f"{line!r} cannot be read: {error}."

    def _list(self, words: list[str]) -> str:
        reports = self._host.report
        order = [mod.id for mod in self._host.mods]
        rows = [reports[ident] for ident in order] + [r for i, r in reports.items() if i not in order]
        lines = [f"{r.id:<20} {r.version:<10} {r.state:<10} {r.problem or r.notice or ''}".rstrip() for r in rows]
        return "\n".join(lines) or "No mods."

    def _time(self, words: list[str]) -> str:
        rows = sorted(self._host.report.values(), key=lambda r: -r.seconds)
        head = f"{'mod':<20} {'ms in all':>12} {'calls':>10} {'µs a call':>10} {'longest ms':>11} {'overruns':>9}"
        lines = [
            f"{r.id:<20} {r.seconds * 1e3:>12.2f} {r.calls:>10,} {r.seconds / max(1, r.calls) * 1e6:>10.1f} "
            f"{r.slowest * 1e3:>11.2f} {r.overruns:>9,}"
            for r in rows
        ]
        return "\n".join([head, *lines])

    def _report(self, words: list[str]) -> str:
        (ident,) = _exactly(words, "report MOD")
        report = self._host.report.get(ident)
        if report is None:
            return f"There is no mod {ident!r}."
        return "\n".join(f"{name:<11} {value}" for name, value in vars(report).items() if value is not None)

    def _reload(self, words: list[str]) -> str:
        (ident,) = _exactly(words, "reload MOD")
        self._host.reload(ident, now=True)
        report = self._host.report[ident]
        return report.notice or report.problem or f"{ident} was reloaded, version {report.version}."

    def _suspend(self, words: list[str]) -> str:
        (ident,) = _exactly(words, "suspend MOD")
        self._host.suspend(ident, "from the console")
        return f"{ident} is suspended."

    def _resume(self, words: list[str]) -> str:
        (ident,) = _exactly(words, "resume MOD")
        self._host.resume(ident)
        return f"{ident} runs."

    def _unload(self, words: list[str]) -> str:
        (ident,) = _exactly(words, "unload MOD")
        self._host.unload(ident)
        return f"{ident} was unloaded."

    def _set(self, words: list[str]) -> str:
        ident, name, value = _exactly(words, "set MOD NAME VALUE")
        self._host.set(ident, name, _value(value))
        return f"{name} of {ident} is {self._host._roster.get(ident).settings[name]!r}."

    def _emit(self, words: list[str]) -> str:
        if not words or not all("=" in word for word in words[1:]):
            raise OptionError("Write: emit EVENT [NAME=VALUE …]")
        fields = {name: _value(value) for name, _, value in (word.partition("=") for word in words[1:])}
        self._host.emit(words[0], **fields)
        return f"{words[0]} comes with the next frame."

    def _save(self, words: list[str]) -> str:
        self._host.save(*_exactly(words, "save [FILE]") if words else [])
        return "Saving."

    def _eval(self, rest: str) -> str:
        ident, _, expression = rest.partition(" ")
        if not self._allow_eval:
            return "eval runs any Python, and this game does not allow it."
        if not expression:
            return "Write: eval MOD EXPRESSION"
        mod = self._host._roster.get(ident)
        module = sys.modules[self._host._roster.package(ident)]
        names = {**vars(module), "mod": mod, "host": self._host}
        result, error = attempt(lambda: eval(compile(expression, "<console>", "eval"), names))
        return describe(error).rstrip() if error is not None else repr(result)


def _exactly(words: list[str], usage: str) -> list[str]:
    if len(words) != len(usage.split()) - 1:
        raise OptionError(f"Write: {usage}")
    return words


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
