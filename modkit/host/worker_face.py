"""What a mod in a process of its own holds of the game: NPCs, their actions, what other mods offer.

Everything asked here goes to the game's process and is answered late: as a stream, as an `Answer`, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modkit.engine.marks import Call, Tag
from modkit.engine.pending import Answer, Pending
from modkit.engine.stream import Stream
from modkit.errors import EngineError, ModError, OptionError
from modkit.host.apis import Api, Elsewhere
from modkit.host.requires import satisfies
from modkit.host.worker_actions import describe, state_of
from modkit.host.worker_wire import OPTIONS, is_plain, settle, tell_when_done

if TYPE_CHECKING:
    from modkit.host.mod import Mod
    from modkit.persona.action import Action
    from modkit.persona.actions import Deed

__all__ = ["FarActions", "FarApi", "FarNPC", "Game", "Tell"]

Tell = Callable[[str, dict[str, Any]], None]


class Game(Elsewhere):
    """The other end: what was asked of it and has not been answered. Also the engine of its streams."""

    def __init__(self, tell: Tell) -> None:
        self.tell = tell
        self.offers: dict[str, list[Any]] = {}  # of the other mods: version, and the names of values
        self._streams: dict[int, Stream] = {}
        self._answers: dict[int, Answer[Any]] = {}
        self._npcs: dict[str, FarNPC] = {}
        self._actions: dict[int, tuple[FarActions, Action, list[Any]]] = {}
        self._offered: Any = None
        self._count = 0

    def number(self) -> int:
        self._count += 1
        return self._count

    def npc(self, ident: str) -> FarNPC:
        """The one and only of that id."""
        return self._npcs.setdefault(ident, FarNPC(self, ident))

    def reply(self, npc: str, method: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> Stream:
        """Has an NPC speak."""
        sent = self._request(npc, method, arguments, options)
        stream = self._streams[sent["id"]] = Stream(self, sent["id"])  # type: ignore[arg-type]
        self.tell("say", sent)
        return stream

    def answer(self, npc: str, method: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> Answer[Any]:
        """Asks an NPC for something that comes whole."""
        sent = self._request(npc, method, arguments, options)
        answer = self._expect(sent["id"])
        self.tell("ask", sent)
        return answer

    def order(self, npc: str, method: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> None:
        """Tells an NPC something that has no answer."""
        self.tell("npc", self._request(npc, method, arguments, options))

    def use(self, ident: str, range: str, name: str, arguments: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """Uses what another mod offers."""
        if not is_plain([*arguments, dict(options)]):
            raise ModError(f"{name}() of mod {ident!r} is in another process: give it plain values")
        answer = self._expect(number := self.number())
        asked = {"name": name, "arguments": list(arguments), "options": dict(options)}
        self.tell("api", {"id": number, "ident": ident, "range": range, **asked})
        return answer

    def _expect(self, number: int) -> Answer[Any]:
        answer = self._answers[number] = Answer(self, number)  # type: ignore[arg-type]
        return answer

    def _request(
        self, npc: str, method: str, arguments: Sequence[Any], options: Mapping[str, Any]
    ) -> dict[str, Any]:
        sent = {name: _sendable(name, value) for name, value in options.items()}
        unknown = sorted(set(sent) - OPTIONS)
        if unknown:
            raise ModError(f"{unknown[0]}= cannot be given from a mod in a process of its own; leave it out.")
        listed = [_sendable(f"what {method}() is given", value) for value in arguments]
        return {"id": self.number(), "npc": npc, "method": method, "arguments": listed, "options": sent}

    def _cancel(self, asked: Pending[Any]) -> None:
        self.tell("cancel", {"id": asked.id})

    # ---- what comes from there ----

    def words(self, params: Mapping[str, Any]) -> None:
        """A reply goes on."""
        stream = self._streams.get(params["id"])
        if stream is None:
            return
        for kind, name in params["events"]:
            stream._happen(Tag(kind, name, len(stream.text)))
        if params["text"]:
            stream._feed(params["text"])
        if params["finish"] is not None:
            del self._streams[params["id"]]
            for name, value in params.get("stats", {}).items():
                setattr(stream.stats, name, value)
            error = params["error"]
            stream._end(params["finish"], None if error is None else EngineError(error))

    def answered(self, params: Mapping[str, Any]) -> None:
        """A question has its answer."""
        answer = self._answers.pop(params["id"], None)
        if answer is not None:
            settle(answer, params)

    def act(self, params: Mapping[str, Any]) -> None:
        """An NPC does one of the mod's actions: held once more against what is possible, and told how it went."""
        actions, action, _ = self._actions.get(params["n"], (None, None, None))
        fact = "" if actions is None or action is None else actions._do(action, params["arguments"]).fact
        self.tell("act-done", {"id": params["id"], "fact": fact})

    def deed(self, params: Mapping[str, Any]) -> None:
        """Something was done, by a call of any mod."""
        self.npc(params["npc"]).actions._tell(params)

    def called(self, mod: Mod, params: Mapping[str, Any]) -> None:
        """Another mod uses what ours offers."""
        use = Api(mod, mod.id, "").later  # which counts what fails as ours
        tell_when_done(self.tell, params["id"], use(params["name"], *params["arguments"], **params["options"]))

    # ---- what is to be known there ----

    def show(self, mod: Mod) -> None:
        """After the mod has run: tells what it offers, and which of its actions are possible, when that changed."""
        from modkit.host.worker_calls import calls_of, values_of

        if mod._offered is not self._offered:
            self._offered = mod._offered
            thing, version = mod._offered or (None, None)
            calls, values = ([], []) if version is None else (calls_of(thing), values_of(thing))
            self.tell("offer", {"version": version, "calls": calls, "values": values})
        for number, (_, action, told) in self._actions.items():
            choices = state_of(action)
            if [choices] != told:
                told[:] = [choices]
                self.tell("offers", {"n": number, "choices": choices})


def _sendable(name: str, value: Any) -> Any:
    if name == "grammar" and hasattr(value, "gbnf"):
        value = {"gbnf": value.gbnf, "root": value.root, "triggers": list(value.triggers)}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | dict):
        value = list(value)
    if not is_plain(value):
        raise ModError(f"{name} is a {type(value).__name__}, which cannot go to another process; give plain values.")
    return value


class FarNPC:
    """An NPC in the game's process. What is not here cannot be had: see docs/mods.md."""

    def __init__(self, game: Game, ident: str) -> None:
        self._game = game
        self.id = ident
        self.actions = FarActions(game, ident)

    def say(self, text: str, facts: Iterable[str] = (), **options: Any) -> Stream:
        """`NPC.say()`: its words arrive a frame late. What is wrong with the call ends the stream."""
        return self._game.reply(self.id, "say", [str(text)], {**options, "facts": facts} if facts else options)

    def greet(self, facts: Iterable[str] = (), **options: Any) -> Stream:
        """`NPC.greet()`."""
        return self._game.reply(self.id, "greet", [facts], options)

    def choices(self, n: int = 3, hint: str = "", **options: Any) -> Answer[list[str]]:
        """`NPC.choices()`."""
        return self._game.answer(self.id, "choices", [n, hint], options)

    def interrupt(self) -> None:
        """`NPC.interrupt()`, a frame late, as the three below; a mistake is counted as the mod's failure."""
        self._game.order(self.id, "interrupt", [], {})

    def hear(self, speaker: str, words: str, **options: Any) -> None:
        self._game.order(self.id, "hear", [speaker, words], options)

    def remember(self, text: str, **options: Any) -> None:
        self._game.order(self.id, "remember", [text], options)

    def forget(self, what: int | str) -> None:
        self._game.order(self.id, "forget", [what], {})

    def __getattr__(self, name: str) -> Any:
        raise ModError(
            f"{name!r} of an NPC is in the game's process, and no frame waits for it; a mod in a process of its own "
            "has say(), greet(), choices(), interrupt(), hear(), remember(), forget() and actions."
        )


class _Named:
    """As much of an NPC as a deed needs."""

    def __init__(self, name: str) -> None:
        self.name = name


class FarActions:
    """`npc.actions`, as `ModActions` needs it: the functions are here, the NPC is there."""

    def __init__(self, game: Game, npc: str) -> None:
        self._game = game
        self._npc = npc
        self._added: dict[str, int] = {}
        self._listeners: list[Callable[[Deed], object]] = []

    def _add(self, action: Action) -> None:
        if action.name in self._added:
            raise OptionError(f"{self._npc} has an action {action.name!r} of this mod already; remove it first")
        described = describe(action)
        self._added[action.name] = number = self._game.number()
        self._game._actions[number] = (self, action, [])
        self._game.tell("action", {"n": number, "npc": self._npc, **described})

    def remove(self, name: str) -> None:
        """`Actions.remove()`, of this mod's own."""
        number = self._added.pop(name, None)
        if number is not None:
            del self._game._actions[number]
            self._game.tell("unaction", {"n": number})

    def on_deed(self, function: Callable[[Deed], object]) -> None:
        """`Actions.on_deed()`: a frame late, and of whatever the NPC does."""
        self._listeners.append(function)
        self._game.tell("deeds", {"npc": self._npc})

    def _tell(self, params: Mapping[str, Any]) -> None:
        from modkit.persona.actions import Deed

        deed = Deed(params["who"], params["name"], params["arguments"], params["outcome"], params["fact"])
        for function in list(self._listeners):
            function(deed)

    def _do(self, action: Action, arguments: Mapping[str, Any]) -> Deed:
        import json

        from modkit.persona.actions import Actions
        from modkit.persona.offer import Offer

        local = Actions(_Named(self._npc))  # type: ignore[arg-type]  # which asks for its name alone
        local._add(action)
        now = action.now()
        return local._do(Call(action.name, json.dumps(arguments), 0), Offer((now,) if now else ()), [])

    def __iter__(self) -> Iterator[str]:
        return iter(self._added)

    def __contains__(self, name: object) -> bool:
        return name in self._added

    def __len__(self) -> int:
        return len(self._added)

    def __getattr__(self, name: str) -> Any:
        raise ModError(
            f"{name!r} of an NPC's actions is in the game's process; a mod in a process of its own has add(), "
            "remove() and on_deed()."
        )


class FarApi(Api):
    """Another mod's offer, in the game's process or in a third one: every call returns an `Answer`."""

    __slots__ = ("_game",)

    def __init__(self, game: Game, mod: Mod, ident: str, range: str) -> None:
        super().__init__(mod, ident, range)
        self._game = game

    @property
    def available(self) -> bool:
        """Whether a fitting version was offered when the game was last heard of."""
        offered = self._game.offers.get(self._ident)
        return offered is not None and satisfies(offered[0], self._range)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{name!r} is private to the mod {self._ident!r}")
        if not self.available:
            raise ModError(f"Mod {self._ident!r} offers nothing that fits {self._range!r}; ask api.available first.")
        if name in self._game.offers[self._ident][1]:
            raise ModError(
                f"{name!r} is a value in the process of another mod, for which no frame waits; write: "
                f"value = await api.later({name!r})"
            )
        return lambda *args, **options: self._game.use(self._ident, self._range, name, args, options)

    def later(self, name: str, /, *args: Any, **options: Any) -> Any:
        """As `Api.later()`."""
        try:
            return self._game.use(self._ident, self._range, name, args, options)
        except ModError as error:
            answer: Answer[Any] = Answer(self._game, 0)  # type: ignore[arg-type]
            answer._end("error", error)
            return answer
