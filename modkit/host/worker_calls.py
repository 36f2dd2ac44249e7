"""What a mod in another process asks of the game's, and the game's mods of it: replies, NPCs, actions, APIs.

The game's side, on the frame's thread. Every call is passed on or answered when it has come to that, and nothing here
waits. What the process sends is checked; ProtocolError, KeyError, TypeError and ValueError end it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from modkit.engine.marks import Tag
from modkit.engine.pending import Answer, Pending
from modkit.errors import ActionRefused, ModError, ModkitError, ProtocolError
from modkit.host.apis import Elsewhere, FarOffer
from modkit.host.events import Origin
from modkit.host.guard import FAILED
from modkit.host.worker_actions import Declared
from modkit.host.worker_wire import ONE_WAY, OPTIONS, REPLIES, a_list, a_map, is_plain, settle, tell_when_done

if TYPE_CHECKING:
    from modkit.host.host import Host
    from modkit.host.mod import Mod

__all__ = ["Calls", "calls_of", "values_of"]

_MANY = 256  # of a kind that one process may have under way, or registered

Tell = Callable[[str, dict[str, Any]], None]


class _Reply:
    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.seen = 0  # of its events


class Calls:
    """All that is under way between one mod's process and this one. `tell` sends the process a message."""

    def __init__(self, mod: Mod, host: Host, tell: Tell) -> None:
        self._mod = mod
        self._host = host
        self._tell = tell
        self._origin = Origin("a call from its process")
        self._replies: dict[int, _Reply] = {}
        self._asked: dict[int, Pending[Any]] = {}  # by the process, of NPCs and other mods
        self._expected: dict[int, Answer[Any]] = {}  # by other mods, of the process
        self._actions: dict[int, tuple[Any, str, Declared]] = {}
        self._begun: dict[int, tuple[Any, str]] = {}  # acts that the process has not told the end of
        self._listens: set[str] = set()
        self._count = 0
        self._alive = False
        self._life = 0  # how many processes there were before this one
        self._methods: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "act-done": self._acted, "action": self._declare, "answer": self._answered, "api": self._api,
            "ask": self._ask, "cancel": self._cancel, "deeds": self._listen, "npc": self._npc, "offer": self._offer,
            "offers": self._learn, "say": self._say, "unaction": self._undeclare,
        }  # fmt: skip

    def take(self, name: str, params: Mapping[str, Any]) -> None:
        """A message of the process."""
        method = self._methods.get(name)
        if method is None:
            raise ProtocolError(f"unknown message {name[:40]!r}")
        method(params)

    def begin(self) -> None:
        """The process is there."""
        self._alive = True

    def drop(self, why: str) -> None:
        """The process is gone: what it asked for is called off, what is asked of it fails."""
        self._alive = False
        self._life += 1
        for reply in self._replies.values():
            reply.stream.cancel()
        for asked in list(self._asked.values()):
            asked.cancel()
        for number in list(self._actions):
            self._undeclare({"n": number})
        expected, self._expected = list(self._expected.values()), {}
        for answer in expected:
            answer._end("error", ModError(f"Mod {self._mod.id!r} did not answer: {why}"))
        for kept in (self._replies, self._asked, self._begun):
            kept.clear()
        if self._mod._offered is not None and isinstance(self._mod._offered[0], FarOffer):
            self._mod._offered = None

    # ---- NPCs ----

    def _do(self, work: Callable[[], Any]) -> Any:
        """What `work` returns, timed as the mod's; an error of the kind that a caller can be told is returned too."""

        def attempt() -> Any:
            try:
                return work()
            except (ModkitError, TypeError, AttributeError) as error:
                return error if isinstance(error, ModkitError) else ModError(str(error)[:300])

        result = self._host._guard.call(self._mod, self._origin, attempt)
        return ModError("it failed in the game's process; its log says more") if result is FAILED else result

    def _call(self, params: Mapping[str, Any]) -> Any:
        """Calls a method of an NPC as the process wrote it."""
        options = {key: value for key, value in a_map(params["options"]).items() if key in OPTIONS}
        arguments, method = a_list(params["arguments"]), params["method"]
        return self._do(lambda: getattr(self._mod.npc(str(params["npc"])), method)(*arguments, **options))

    def _say(self, params: Mapping[str, Any]) -> None:
        ident = int(params["id"])
        if params["method"] not in REPLIES:
            raise ProtocolError("no way of speaking")
        many = len(self._replies) >= _MANY
        stream = ModError(f"{_MANY} replies are under way already") if many else self._call(params)
        if isinstance(stream, ModkitError):
            self._tell("words", {"id": ident, "text": "", "finish": "error", "error": str(stream), "events": []})
        else:
            self._replies[ident] = _Reply(stream)

    def pass_words_on(self) -> None:
        """Tells the process what its replies have brought since the last frame."""
        for ident, reply in list(self._replies.items()):
            stream = reply.stream
            text = stream.take()
            happened = stream.events[reply.seen :]
            reply.seen += len(happened)
            events = [[event.kind, event.name] for event in happened if isinstance(event, Tag)]
            told: dict[str, Any] = {"id": ident, "text": text, "finish": stream.finish, "error": None, "events": events}
            if stream.done:
                del self._replies[ident]
                told |= {"error": None if stream.error is None else str(stream.error), "stats": asdict(stream.stats)}
            if text or events or stream.done:
                self._tell("words", told)

    def _ask(self, params: Mapping[str, Any]) -> None:
        if params["method"] != "choices":
            raise ProtocolError("no question")
        self._answer_later(int(params["id"]), lambda: self._call(params))

    def _answer_later(self, ident: int, ask: Callable[[], Any]) -> None:
        asked = ModError(f"{_MANY} questions are under way already") if len(self._asked) >= _MANY else ask()
        if isinstance(asked, ModkitError):
            self._tell("answer", {"id": ident, "value": None, "error": str(asked)})
            return
        life = self._life

        def tell(name: str, params: dict[str, Any]) -> None:
            if self._life == life:  # the process that comes after another counts its questions afresh
                self._asked.pop(ident, None)
                self._tell(name, params)

        self._asked[ident] = asked
        tell_when_done(tell, ident, asked)

    def _cancel(self, params: Mapping[str, Any]) -> None:
        reply = self._replies.get(params["id"])
        asked = reply.stream if reply is not None else self._asked.get(params["id"])
        if asked is not None:
            asked.cancel()

    def _npc(self, params: Mapping[str, Any]) -> None:
        if params["method"] not in ONE_WAY:
            raise ProtocolError("no method of an NPC")
        result = self._call(params)
        if isinstance(result, ModkitError):
            self._mod._failed(self._origin, result)

    # ---- actions ----

    def _declare(self, params: Mapping[str, Any]) -> None:
        number, npc = int(params["n"]), str(params["npc"])
        if len(self._actions) >= _MANY or number in self._actions:
            raise ProtocolError("too many actions, or one twice")
        declared = Declared(params, lambda arguments: self._act(number, arguments))

        def add() -> None:
            actions = self._mod.npc(npc).actions
            actions.add(declared.function, declared.possible, declared.name)
            self._actions[number] = (self._host.npc(npc).actions, declared.name, declared)

        failed = self._do(add)
        if isinstance(failed, ModkitError):
            self._mod._failed(self._origin, failed)

    def _undeclare(self, params: Mapping[str, Any]) -> None:
        actions, name, _ = self._actions.pop(int(params["n"]), (None, "", None))
        if actions is not None and (actions, name) in self._mod._deeds:
            self._mod._deeds.remove((actions, name))
            actions.remove(name)

    def _learn(self, params: Mapping[str, Any]) -> None:
        known = self._actions.get(int(params["n"]))
        if known is not None:
            known[2].learn(params["choices"])

    def _act(self, number: int, arguments: dict[str, Any]) -> str:
        """She does it: the process is told, and what comes of it she notices when it has come."""
        actions, name, _ = self._actions.get(number, (None, "", None))
        if actions is None or not self._alive or len(self._begun) >= _MANY:
            raise ActionRefused("That is not possible now.")
        self._count += 1
        begun = f"{name} has begun."
        self._begun[self._count] = actions, begun
        self._tell("act", {"id": self._count, "n": number, "arguments": arguments})
        return begun

    def _acted(self, params: Mapping[str, Any]) -> None:
        actions, begun = self._begun.pop(int(params["id"]), (None, ""))
        fact = " ".join(str(params["fact"]).split())[:200]
        if actions is None or not fact:
            return
        if begun in actions._facts:  # she has not spoken since
            actions._facts[actions._facts.index(begun)] = fact
        else:
            actions._put_back([fact])

    def _listen(self, params: Mapping[str, Any]) -> None:
        npc = str(params["npc"])
        if npc in self._listens or len(self._listens) >= _MANY:
            return

        def heard(deed: Any) -> None:
            told = {n: getattr(deed, n) for n in ("name", "arguments", "outcome", "fact")}
            if is_plain(told):
                self._tell("deed", {"npc": npc, "who": deed.npc, **told})

        if not isinstance(self._do(lambda: self._mod.npc(npc).actions.on_deed(heard)), ModkitError):
            self._listens.add(npc)

    # ---- other mods ----

    def _api(self, params: Mapping[str, Any]) -> None:
        name, arguments, options = str(params["name"]), a_list(params["arguments"]), a_map(params["options"])
        whom, range = str(params["ident"]), str(params["range"])
        ask = lambda: self._do(lambda: self._mod.api(whom, range).later(name, *arguments, **options))  # noqa: E731
        self._answer_later(int(params["id"]), ask)

    def _offer(self, params: Mapping[str, Any]) -> None:
        calls, values = ([str(name)[:80] for name in a_list(params[key])[:_MANY]] for key in ("calls", "values"))
        if params["version"] is None:
            self._mod._offered = None
            return
        failed = self._do(lambda: self._mod.offer(FarOffer(calls, values, self._pass_on), str(params["version"])[:80]))
        if isinstance(failed, ModkitError):
            self._mod._failed(self._origin, failed)

    def _pass_on(self, name: str, args: Sequence[Any], options: dict[str, Any]) -> Answer[Any]:
        """Another mod uses what the process offers."""
        answer: Answer[Any] = Answer(Elsewhere(), 0)  # type: ignore[arg-type]
        why = ""
        if not is_plain([*args, options]):
            why = f"{name}() is in a process of its own: it can be given plain values only"
        elif not self._alive or len(self._expected) >= _MANY:
            why = f"{name}() cannot be asked now: the process is not there, or has too much to do"
        if why:
            answer._end("error", ModError(f"{why}."))
            return answer
        self._count += 1
        self._expected[self._count] = answer
        self._tell("call", {"id": self._count, "name": name, "arguments": list(args), "options": options})
        return answer

    def _answered(self, params: Mapping[str, Any]) -> None:
        answer = self._expected.pop(int(params["id"]), None)
        if answer is not None:
            settle(answer, params)


def values_of(thing: Any) -> list[str]:
    """The public names of an offer that are values. Runs none of the mod's code."""
    import inspect

    if isinstance(thing, FarOffer):
        return sorted(thing._values)
    names = [name for name in dir(thing) if not name.startswith("_")]
    bound = (classmethod, staticmethod)
    found = ((name, inspect.getattr_static(thing, name, None)) for name in names[:_MANY])
    return [name for name, value in found if not callable(value) and not isinstance(value, bound)]


def calls_of(thing: Any) -> list[str]:
    """The public names of an offer that can be called."""
    values = set(values_of(thing))
    return [name for name in dir(thing) if not name.startswith("_") and name not in values][:_MANY]
