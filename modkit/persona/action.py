"""One thing that a character can do: a typed function, and the line, the grammar and the check that follow from its
signature.

Conditions and choices are asked on the game's thread when a turn begins, because they read the game's state.
"""

from __future__ import annotations

import enum
import inspect
import itertools
import json
import logging
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from modkit.errors import GrammarError, OptionError
from modkit.native.grammar.pytypes import hints_of, schema_of_parameters
from modkit.native.grammar.schema import schema_rules
from modkit.native.grammar.shapes import Shapes
from modkit.native.grammar.write import quoted, renamed, write

__all__ = ["Action", "Offered"]

_log = logging.getLogger("modkit.persona")

MAX_NAME = 40
MAX_CHOICES = 40  # of one parameter at one moment
MAX_LINE = 240  # characters of an action's line in the prompt


@dataclass(frozen=True)
class Offered:
    """One action as it is at this moment: the choices its parameters have now."""

    action: Action
    choices: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of its arguments, with what there is now as enums."""
        schema = self.action.schema
        if not self.choices:
            return schema
        properties = dict(schema["properties"])
        for name, values in self.choices:
            properties[name] = {**properties[name], "enum": list(values)}
        return {**schema, "properties": {k: v for k, v in properties.items() if v.get("enum") != []}}

    @property
    def rules(self) -> str:
        """GBNF of its arguments, with what there is now."""
        text = self.action.rules
        if any(not values for _, values in self.choices):  # an optional one that has nothing to choose from is left out
            return _rules_text(self.schema, self.action.root)
        for name, values in self.choices:
            listed = " | ".join(quoted(json.dumps(value, ensure_ascii=False)) for value in values)
            text = text.replace(quoted(json.dumps(_place(name), ensure_ascii=False)), f"({listed})")
        return text

    @property
    def line(self) -> str:
        """Its line in the prompt: `give(item: "lamp" | "rope"): Hand the player something.`"""
        schema = self.schema
        required = schema["required"]
        shown = ", ".join(
            f"{name}{'' if name in required else '?'}: {_kind(one)}" for name, one in schema["properties"].items()
        )
        return f"{self.action.name}({shown}): {self.action.summary}"[:MAX_LINE]

    def problem(self, text: str) -> tuple[dict[str, Any], str]:
        """The arguments of a call, and in one sentence what is wrong with them ("": nothing)."""
        try:
            arguments = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_twice)
        except (ValueError, RecursionError) as error:
            return {}, f"its arguments are not JSON ({str(error)[:60]})"
        if not isinstance(arguments, dict):
            return {}, "its arguments are not an object"
        schema = self.schema
        for name in arguments:
            if name not in schema["properties"]:
                known = ", ".join(schema["properties"]) or "none"
                return {}, f"it has no argument {str(name)[:40]!r} (there are: {known})"
        for name in schema["required"]:
            if name not in arguments:
                return {}, f"the argument {name!r} is missing"
        for name, value in arguments.items():
            one = schema["properties"][name]
            try:
                fits = Shapes({**one, "$defs": schema.get("$defs", {})}).allows(value)
            except (GrammarError, RecursionError, OverflowError):
                fits = False
            if not fits:
                return {}, f"{name} must be {_kind(one)}"
        return arguments, ""


class Action:
    """A function that a character can have done, as the game or a mod registered it.

    Its parameters are the call's arguments, except the first ones that are in `given` (`npc`, `mod`). `call` is what is
    called in its place, with the same arguments, by whoever guards his functions.
    Raises OptionError or GrammarError when the signature cannot be offered.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        when: Callable[[], Any] | None = None,
        name: str | None = None,
        given: Mapping[str, Any] | None = None,
        call: Callable[..., Any] | None = None,
    ) -> None:
        if not callable(function):
            raise OptionError(f"an action is a function, not {function!r}")
        self.function = function
        self.when = when
        self.name: str = name or str(getattr(function, "__name__", ""))
        if not self.name.replace("-", "_").isidentifier() or not self.name.isascii() or len(self.name) > MAX_NAME:
            raise OptionError(f"{self.name!r} cannot be an action's name: letters, digits and '_', at most {MAX_NAME}")
        if inspect.iscoroutinefunction(function):
            raise OptionError(f"the action {self.name} is async; let it start a coroutine with mod.spawn() and return")
        self.summary = (inspect.getdoc(function) or "").strip().split("\n")[0].strip()
        if not self.summary:
            raise OptionError(f"the action {self.name} needs a docstring: its first line tells the model what it does")
        self._call = call or function
        self.given = dict(given or {})
        parameters = list(inspect.signature(function).parameters)
        self._skip = 0
        while self._skip < len(parameters) and parameters[self._skip] in self.given:
            self._skip += 1
        self.schema = schema_of_parameters(_without_choices(function), self._skip)
        self._choices = _choices(function, self._skip)
        self._enums = _enums(function, self._skip)
        self.root = f"call-{next(_numbers)}"
        properties = {
            k: {"const": _place(k)} if k in self._choices else v for k, v in self.schema["properties"].items()
        }
        self.rules = _rules_text({**self.schema, "properties": properties}, self.root)
        self._given = [self.given[parameter] for parameter in parameters[: self._skip]]

    @property
    def tool(self) -> dict[str, Any]:
        """As a template's list of tools takes it, without what changes from turn to turn: the cache holds it."""
        summary = self.summary.replace("<", "‹")  # a template's text may hold special tokens, a docstring none
        about = {"name": self.name, "description": summary, "parameters": self.schema}
        return {"type": "function", "function": about}

    def now(self) -> Offered | None:
        """The action as it can be done now; None when it cannot. On the game's thread, microseconds."""
        try:
            if self.when is not None and not self.when():
                return None
            found = []
            for name, choose in self._choices.items():
                values = tuple(choose())[:MAX_CHOICES]
                if not values and name in self.schema["required"]:
                    return None
                found.append((name, values))
            return Offered(self, tuple(found))
        except Exception:  # a mod's own condition: its mistake means that the action is not there
            _log.exception("the action %s is left out: its condition or its choices failed", self.name)
            return None

    def call(self, arguments: Mapping[str, Any]) -> Any:
        """Calls the function with checked arguments; enum parameters get their members."""
        values = {key: self._enums[key](value) if key in self._enums else value for key, value in arguments.items()}
        return self._call(*self._given, **values)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _no_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


_numbers = itertools.count(1)


def _rules_text(schema: dict[str, Any], root: str) -> str:
    """GBNF of the arguments, its rules named after `root`."""
    rules = schema_rules(schema, spaces=False, closed=True)
    names = {name: root if name == "root" else f"{root}-{name}" for name in rules}
    return write({names[name]: renamed(node, names) for name, node in rules.items()}, root)


def _place(name: str) -> str:
    """Stands for the choices of a parameter in a text that is made once."""
    return f"\ue000{name}\ue001"


# ---- the signature ----


def _kind(schema: Mapping[str, Any]) -> str:
    """A parameter's type, as a person would write it."""
    if "enum" in schema:
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"]) or "nothing there is"
    if "anyOf" in schema:
        return " | ".join(_kind(one) for one in schema["anyOf"])
    kind = schema.get("type")
    low, high = schema.get("minimum"), schema.get("maximum")
    if kind in ("integer", "number") and low is not None and high is not None:
        return f"{low} to {high}"
    if kind in ("integer", "number"):
        limits = [f"at least {low}"] if low is not None else [f"at most {high}"] if high is not None else []
        return " ".join(["a whole number" if kind == "integer" else "a number", *limits])
    if kind == "array":
        return f"a list of {_kind(schema.get('items', {}))}"
    return {"string": "a text", "boolean": "true | false", "null": "null"}.get(str(kind), "JSON")


def _choices(function: Callable[..., Any], skip: int) -> dict[str, Callable[[], Iterable[Any]]]:
    """Parameters whose values are asked anew each turn: `item: Annotated[str, things_at_hand]`."""
    found = {}
    for name, hint in _parameters(function, skip):
        if typing.get_origin(hint) is typing.Annotated:
            for item in hint.__metadata__:
                if _asks(item):
                    found[name] = item
    return found


def _asks(item: Any) -> bool:
    return callable(item) and not isinstance(item, type) and not hasattr(item, "ge") and not hasattr(item, "pattern")


def _enums(function: Callable[..., Any], skip: int) -> dict[str, type[enum.Enum]]:
    found = {}
    for name, hint in _parameters(function, skip):
        bare = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
        if isinstance(bare, type) and issubclass(bare, enum.Enum):
            found[name] = bare
    return found


def _parameters(function: Callable[..., Any], skip: int) -> list[tuple[str, Any]]:
    hints = hints_of(function)
    return [(name, hints[name]) for name in list(inspect.signature(function).parameters)[skip:] if name in hints]


def _without_choices(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same signature, without the functions that are asked each turn."""
    hints = hints_of(function)
    annotated: Any = typing.Annotated

    def stand_in() -> None: ...

    stand_in.__name__ = getattr(function, "__name__", "action")
    signature = inspect.signature(function)
    parameters, annotations = [], {}
    for name, parameter in signature.parameters.items():
        hint = hints.get(name, parameter.empty)
        if typing.get_origin(hint) is typing.Annotated:
            kept = tuple(item for item in hint.__metadata__ if not _asks(item))
            bare = typing.get_args(hint)[0]
            parts = (bare, *kept)
            hint = annotated[parts] if kept else bare
        if hint is not parameter.empty:
            annotations[name] = hint
        parameters.append(parameter)
    stand_in.__annotations__ = annotations
    stand_in.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return stand_in
