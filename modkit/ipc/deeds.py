"""A character's actions as a host that is not Python declares them: plain values made into typed functions.

The function does nothing: the host hears of the call as an event and does it itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal

from modkit.errors import OptionError

__all__ = ["MAX_ACTIONS", "action_from"]

MAX_ACTIONS = 32
MAX_PARAMETERS = 8
_KINDS: dict[str, Any] = {"text": str, "integer": int, "number": float, "boolean": bool}


def action_from(given: Any) -> Callable[..., None]:
    """{"name", "does", "parameters": {name: "text" | "integer" | "number" | "boolean" | [texts]}} as a function.

    Raises OptionError.
    """
    if not isinstance(given, dict) or not set(given) <= {"name", "does", "parameters"}:
        raise OptionError('an action is {"name", "does", "parameters"}')
    name, does, parameters = given.get("name"), given.get("does"), given.get("parameters") or {}
    if not isinstance(name, str) or not isinstance(does, str) or not 1 <= len(does) <= 200:
        raise OptionError("an action has a name and one sentence that says what it does, at most 200 characters")
    if not isinstance(parameters, dict) or len(parameters) > MAX_PARAMETERS:
        raise OptionError(f"the action {name[:40]}: at most {MAX_PARAMETERS} parameters, by name")
    hints = {key: _kind(name, key, kind) for key, kind in parameters.items()}

    def act(**arguments: Any) -> None:
        return None

    act.__name__, act.__doc__, act.__annotations__ = name, does, {**hints}
    made = [inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, annotation=kind) for key, kind in hints.items()]
    act.__signature__ = inspect.Signature(made)  # type: ignore[attr-defined]
    return act


def _kind(action: str, name: str, kind: Any) -> Any:
    if not name.isidentifier() or len(name) > 40:
        raise OptionError(f"the action {action[:40]}: {name[:40]!r} cannot be a parameter's name")
    if isinstance(kind, str) and kind in _KINDS:
        return _KINDS[kind]
    if isinstance(kind, list) and 1 <= len(kind) <= 40 and all(isinstance(k, str) and 0 < len(k) <= 80 for k in kind):
        return Literal[tuple(kind)]
    raise OptionError(f'the action {action[:40]}: {name} is "{", ".join(_KINDS)}" or a list of texts to choose from')
