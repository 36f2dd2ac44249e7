"""`Actions`: what a character may do in the game, and what came of what she did.

A call that the model writes (`<do:give {"item":"lamp"}>`) arrives inside `tick()`, on the game's thread, in the
order of the words. Before a function runs, the call is held against what was offered in this turn and against what is
possible now: a model, a player or a dump can ask for whatever they like and get no more than that. What came of it is a
fact that she notices in her next turn.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modkit.errors import ActionRefused, ModkitError, OptionError
from modkit.persona.offer import Offer, Offers

if TYPE_CHECKING:
    from modkit.engine.marks import Call
    from modkit.persona.action import Action
    from modkit.persona.npc import NPC

__all__ = ["Actions", "Deed"]

_log = logging.getLogger("modkit.persona")

MAX_FACT = 200  # characters of a result that goes back into the prompt
MAX_LOG = 500


@dataclass(frozen=True)
class Deed:
    """A call and what came of it.

    outcome: "done"; "refused" (the function said no, or it is not possible any more); "invalid" (never offered, or
    arguments that the signature does not take); "failed" (the function raised); "dry" (`dry_run`: it was not called);
    "over" (more calls than the turn's budget). `fact` is what the character will notice.
    """

    npc: str
    name: str
    arguments: dict[str, Any]
    outcome: str
    fact: str
    result: Any = field(default=None, compare=False)

    def __str__(self) -> str:
        shown = ", ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in self.arguments.items())
        return f"{self.npc}: {self.name}({shown}) — {self.outcome}: {self.fact}"


class Actions:
    """An NPC's actions: `npc.actions.add(function, when=...)`. Everything on the game's thread.

    style: how the model writes calls. "auto" (default): as its own template has it, where that takes tools (Hermes,
    Qwen and their like), else ours; "ours" and "tools" decide it.
    budget: calls in one turn (default 3). dry_run: calls are checked and logged, but nothing is done. `log` holds the
    last 500 deeds; `str(deed)` is a line for a player to read.
    """

    def __init__(self, npc: NPC) -> None:
        self._npc = npc
        self._actions: dict[str, Action] = {}
        self._offers = Offers()
        self._facts: list[str] = []
        self._listeners: list[Callable[[Deed], None]] = []
        self.style = "auto"
        self.budget = 3
        self.dry_run = False
        self.log: deque[Deed] = deque(maxlen=MAX_LOG)

    def add(
        self,
        function: Callable[..., Any],
        when: Callable[[], Any] | None = None,
        name: str | None = None,
    ) -> Callable[..., Any]:
        """Let her do `function` while `when()` is true (None: always). Returns the function.

        The parameters' types are what the model may give; `Annotated[int, range(1, 10)]` and
        `Annotated[str, things_at_hand]` (a function, asked each turn) bound them. The docstring's first line tells the
        model what it does. A first parameter `npc` gets the NPC. What it returns she notices in her next turn;
        raise ActionRefused to say no. The first action of a process loads the grammars (some 20 ms): add it before the
        game plays. Raises OptionError, GrammarError.
        """
        from modkit.persona.action import Action  # brings the grammars along; who only talks does without

        self._add(Action(function, when, name, {"npc": self._npc}))
        return function

    def remove(self, name: str) -> None:
        """Take an action away, by its name; nothing happens when there is none."""
        self._actions.pop(name, None)

    def __iter__(self) -> Any:
        return iter(self._actions)

    def __contains__(self, name: object) -> bool:
        return name in self._actions

    def __len__(self) -> int:
        return len(self._actions)

    def on_deed(self, function: Callable[[Deed], None]) -> None:
        """Calls function(deed) after each call, whatever came of it, inside the tick."""
        self._listeners.append(function)

    def offered(self, names: Iterable[str] | None = None) -> Offer:
        """What can be done now (of these names, or of all)."""
        if names is None:
            return self._offers.of(self._actions.values(), self.budget, self._by_template)
        if isinstance(names, str):
            raise OptionError('actions are a list of names: write say(text, actions=["give"])')
        chosen = []
        for name in names:
            if name not in self._actions:
                known = ", ".join(self._actions) or "none"
                raise OptionError(f"there is no action {name!r}; {self._npc.name} has: {known}")
            chosen.append(self._actions[name])
        return self._offers.of(chosen, self.budget, self._by_template)

    # ---- for the NPC ----

    @property
    def _by_template(self) -> bool:
        if self.style not in ("auto", "ours", "tools"):
            raise OptionError(f'actions.style={self.style!r}: give "auto", "ours" or "tools"')
        if self.style != "auto":
            return self.style == "tools"
        return getattr(self._npc.engine, "tool_format", "") == "tool_call"

    def _tools(self) -> list[dict[str, Any]]:
        """What the template is told, the same in every turn."""
        return [action.tool for action in self._actions.values()]

    def _add(self, action: Action) -> None:
        if action.name in self._actions:
            raise OptionError(f"{self._npc.name} has an action {action.name!r} already; remove it first")
        self._actions[action.name] = action

    def _noticed(self) -> tuple[str, ...]:
        """What came of earlier calls, once."""
        facts, self._facts = tuple(self._facts), []
        return facts

    def _put_back(self, facts: Iterable[str]) -> None:
        self._facts[:0] = facts

    def _called(self, call: Call, offer: Offer, done: list[Deed]) -> None:
        """A call has been read out of the reply."""
        deed = self._do(call, offer, done)
        done.append(deed)
        self.log.append(deed)
        if deed.fact and len(done) <= offer.budget + 1:  # a model that calls without end is told so once
            self._facts.append(deed.fact)
        level = logging.INFO if deed.outcome in ("done", "dry", "refused") else logging.WARNING
        _log.log(level, "%s", deed)
        for function in list(self._listeners):
            try:
                function(deed)
            except Exception:  # a listener's mistake is not the character's
                _log.exception("a function that listens to deeds failed")

    def _do(self, call: Call, offer: Offer, done: list[Deed]) -> Deed:
        name = call.name

        def deed(outcome: str, fact: str, arguments: dict[str, Any] | None = None, result: Any = None) -> Deed:
            return Deed(self._npc.name, name, arguments or {}, outcome, fact[:MAX_FACT], result)

        if len(done) >= offer.budget:
            return deed("over", f"Nothing more than {offer.budget} things can be done at once.")
        offered = offer.find(name)
        if offered is None:
            return deed("invalid", f"{name} cannot be done.")
        arguments, wrong = offered.problem(call.arguments)
        if wrong:
            return deed("invalid", f"{name} did not happen: {wrong}.")
        now = self._actions.get(name)
        current = now.now() if now is offered.action and now is not None else None
        if current is None or (current.choices != offered.choices and current.problem(call.arguments)[1]):
            return deed("refused", f"{name} is not possible any more.", arguments)
        if self.dry_run:
            return deed("dry", "", arguments)
        try:
            result = offered.action.call(arguments)
        except ActionRefused as refusal:
            return deed("refused", str(refusal) or f"{name} was refused.", arguments)
        except ModkitError as error:  # whoever raised it has said more about it
            _log.debug("the action %s: %s", name, error)
            return deed("failed", f"{name} did not work.", arguments)
        except Exception:  # the mod boundary: a mistake in an action ends that action
            _log.exception("the action %s failed", name)
            return deed("failed", f"{name} did not work.", arguments)
        fact = result if isinstance(result, str) and result else f"{name} is done."
        return deed("done", fact, arguments, result)
