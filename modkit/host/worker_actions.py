"""An action whose function is in another process: described there in plain values, made a typed function of here.

The description is the other side's word and is checked: what cannot be said with a text, a number, a truth value, a
list of these or a set of choices does not come across.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

from modkit.errors import ModError, ProtocolError
from modkit.host.worker_wire import a_list, a_map

if TYPE_CHECKING:
    from modkit.persona.action import Action

__all__ = ["Declared", "describe", "state_of"]

MAX_PARAMETERS = 16
MAX_CHOICES = 40
_CHECKED_THERE = ("description", "maxItems", "maxLength", "minItems", "minLength", "pattern")  # by the mod's process
_KINDS: dict[str, Any] = {"string": str, "integer": int, "number": float, "boolean": bool}


def describe(action: Action) -> dict[str, Any]:
    """The action's name, its sentence and its parameters. Raises `ModError` for a type that cannot cross."""
    required = action.schema["required"]
    parameters = {}
    for name, schema in action.schema["properties"].items():
        parameters[name] = {
            "kind": _kind_of(action.name, name, schema),
            "asked": name in action._choices,
            "required": name in required,
        }
    return {"name": action.name, "does": action.summary, "parameters": parameters}


def _kind_of(action: str, name: str, schema: Mapping[str, Any]) -> Any:
    """"integer", ["integer", low, high], {"of": kind}, {"enum": values}, or {"maybe": kind} where None will do."""
    if "enum" in schema and all(isinstance(value, str | int | bool) for value in schema["enum"]):
        return {"enum": list(schema["enum"])[:MAX_CHOICES]}
    others = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(others) == 1 and len(others) < len(schema["anyOf"]):
        return {"maybe": _kind_of(action, name, others[0])}
    kind, known = schema.get("type"), set(schema) - {"type", *_CHECKED_THERE}
    if kind in ("integer", "number") and known <= {"minimum", "maximum"}:
        return [kind, schema.get("minimum"), schema.get("maximum")]
    if kind in _KINDS and not known:
        return kind
    if kind == "array" and known == {"items"}:
        return {"of": _kind_of(action, name, schema["items"])}
    raise ModError(
        f"The parameter {name!r} of the action {action!r} cannot cross to the game's process: take a text, a number "
        "(with a range), a bool, choices, or a list of these."
    )


def state_of(action: Action) -> dict[str, Any] | None:
    """The choices that the action's parameters have now; None when it is not possible. Asks the mod's functions."""
    now = action.now()
    return None if now is None else {name: list(values) for name, values in now.choices}


class Declared:
    """Here, of an action there: its typed `function`, which calls `act(arguments)`, and its state as last told."""

    def __init__(self, given: Mapping[str, Any], act: Callable[[dict[str, Any]], str]) -> None:
        self.name, does = given["name"], given["does"]
        if not isinstance(self.name, str) or not isinstance(does, str) or not 0 < len(does) <= 1000:
            raise ProtocolError("an action has a name and a sentence")
        parameters = a_map(given["parameters"])
        if len(parameters) > MAX_PARAMETERS:
            raise ProtocolError("an action with too many parameters")
        self._choices: dict[str, list[Any]] | None = None
        self._asked: list[str] = []

        def function(**arguments: Any) -> str:
            return act(arguments)

        made = []
        for name, one in parameters.items():
            if not name.isidentifier() or len(name) > 40:
                raise ProtocolError("a parameter without a name")
            hint = _hint(a_map(one)["kind"])
            if one["asked"]:
                self._asked.append(name)
                hint = Annotated[hint, self._asker(name)]
            default = inspect.Parameter.empty if one["required"] else None
            made.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=hint, default=default))
        function.__name__, function.__doc__ = self.name, does
        function.__annotations__ = {parameter.name: parameter.annotation for parameter in made}
        function.__signature__ = inspect.Signature(made)  # type: ignore[attr-defined]
        self.function: Callable[..., str] = function

    def possible(self) -> bool:
        """Whether it could be done when the other process was last heard of."""
        return self._choices is not None

    def learn(self, choices: Any) -> None:
        """The state as the other process tells it: the choices, or None. Raises ProtocolError."""
        if choices is None:
            self._choices = None
            return
        known = {name: a_list(values)[:MAX_CHOICES] for name, values in a_map(choices).items()}
        if set(known) != set(self._asked) or not all(_scalar(v) for values in known.values() for v in values):
            raise ProtocolError("choices that are none")
        self._choices = known

    def _asker(self, name: str) -> Callable[[], list[Any]]:
        return lambda: (self._choices or {}).get(name, [])


def _scalar(value: Any) -> bool:
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 200)


def _hint(kind: Any, depth: int = 3) -> Any:
    """The kind as a type. Raises ProtocolError."""
    optional, literal, annotated, listed = Optional, Literal, Annotated, list  # of values: mypy takes none in types
    if depth and isinstance(kind, str) and kind in _KINDS:
        return _KINDS[kind]
    if depth and isinstance(kind, list) and len(kind) == 3 and kind[0] in ("integer", "number"):
        low, high = kind[1:]
        if low is None and high is None:
            return _KINDS[kind[0]]
        if all(value is None or type(value) in (int, float) for value in (low, high)):
            return annotated[_KINDS[kind[0]], _Bounds(low, high)]
    if depth and isinstance(kind, dict) and len(kind) == 1:
        if "maybe" in kind:
            return optional[_hint(kind["maybe"], depth - 1)]
        if "of" in kind:
            return listed[_hint(kind["of"], depth - 1)]
        values = kind.get("enum")
        if isinstance(values, list) and 1 <= len(values) <= MAX_CHOICES and all(_scalar(v) for v in values):
            return literal[tuple(values)]
    raise ProtocolError("a parameter of a kind that is not known")


class _Bounds:
    """What a number may be, as Annotated takes it."""

    def __init__(self, low: float | None, high: float | None) -> None:
        self.ge, self.le = low, high
