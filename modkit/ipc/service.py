"""What a host that is not Python may ask: the methods of `modkit serve`, each a function of plain values.

A Service has the engine and the cast; a Session is one client's share of them: the replies it asked for. Every
parameter is checked here; what is wrong raises a ModkitError, which the server answers with. One thread.
docs/protocol.md names every method with its parameters.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modkit.engine.marks import Tag
from modkit.errors import ModkitError, OptionError
from modkit.ipc.deeds import MAX_ACTIONS, action_from
from modkit.persona import NPC, Save

if TYPE_CHECKING:
    from modkit.engine import AnyEngine, Stream
    from modkit.persona.actions import Deed

__all__ = ["Later", "Service", "Session"]

log = logging.getLogger("modkit.ipc")

MAX_TEXT = 8000  # characters of what a player says
MAX_FACTS = 32
MAX_STREAMS = 16  # of one client at once
MAX_CAST = 256
MAX_SAVES = 4  # of one client on their way to the disk
# Of the engine's options those that a client may set; none of them names a file.
_PENALTIES = ("repeat_penalty", "frequency_penalty", "presence_penalty")
OPTIONS = frozenset(("max_tokens", "stop", "temperature", "top_k", "top_p", "min_p", "seed", *_PENALTIES))
MAX_TOKENS = 4096


class Later:
    """A method's result that is not there yet; the server asks ready() between frames."""

    def __init__(self) -> None:
        self.result: Any = None
        self.error: ModkitError | None = None
        self.ready = False


@dataclass
class _Speech:
    stream: Stream
    npc: str
    seen: int = 0  # of the stream's events
    deeds: list[dict[str, Any]] = field(default_factory=list)  # not yet told


class Service:
    """The engine, the cast and the save that all clients share.

    root: the folder that `load` may take personas from and `save` may write copies to; None: clients load and copy
    nothing. player: the name that players speak under.
    """

    def __init__(
        self,
        engine: AnyEngine,
        *,
        save: Save | None = None,
        root: Path | None = None,
        player: str = "Player",
    ) -> None:
        self.engine = engine
        self.save = save
        self.root = root.resolve() if root is not None else None
        self.player = player
        self.cast: dict[str, NPC] = {}

    def add(self, persona: str | Path, id: str | None = None) -> NPC:
        """Brings a character in. Raises PersonaError, SaveError, OptionError."""
        if len(self.cast) >= MAX_CAST:
            raise OptionError(f"the cast has {MAX_CAST} characters already")
        npc = NPC(persona, self.engine, self.save, self.player, id=id)
        old = self.cast.pop(npc.id, None)
        if old is not None:
            old.close()
        self.cast[npc.id] = npc
        return npc

    def npc(self, id: str | None) -> NPC:
        """By id; None is the only one there is. Raises OptionError."""
        if id is None:
            if len(self.cast) == 1:
                return next(iter(self.cast.values()))
            raise OptionError(f'name the character: "npc" is one of {", ".join(sorted(self.cast)) or "nobody yet"}')
        npc = self.cast.get(id)
        if npc is None:
            here = ", ".join(sorted(self.cast)) or "nobody"
            raise OptionError(f"there is no character called {id[:60]!r} here, only {here}")
        return npc

    def inside(self, name: str, what: str) -> Path:
        """A path inside the root. Raises OptionError."""
        if self.root is None:
            raise OptionError(f"this server was started without a folder for clients (--root), so {what} is not taken")
        try:
            path = (self.root / name).resolve()
            good = path.is_relative_to(self.root) and path != self.root and "\0" not in name
        except (OSError, ValueError, RuntimeError):
            good = False
        if not good:
            raise OptionError(f"{what} must lie inside the server's folder: {name[:100]!r} does not")
        return path

    def close(self) -> None:
        """Commits and closes every character."""
        for npc in self.cast.values():
            npc.close()
        self.cast.clear()


class Session:
    """One client's methods and replies. Closing it cancels what it had asked for."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.speeches: dict[int, _Speech] = {}
        self._next = 1
        self._heard: list[NPC] = []
        self._saving: list[Later] = []
        self._methods: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "status": self._status,
            "load": self._load,
            "say": self._say,
            "poll": self._poll,
            "cancel": self._cancel,
            "actions": self._actions,
            "transcript": self._transcript,
            "save": self._save,
            "ping": self._ping,
        }

    def call(self, method: str, params: Mapping[str, Any]) -> Any:
        """A plain value, or a Later. Raises ModkitError."""
        function = self._methods.get(method)
        if function is None:
            known = ", ".join(sorted(self._methods))
            raise OptionError(f"there is no method {method[:40]!r}; the methods are {known}")
        return function(params)

    def events(self, most: int = 64) -> list[tuple[str, dict[str, Any]]]:
        """What has come since the last call: at most so many words and ends, as (name, params)."""
        found: list[tuple[str, dict[str, Any]]] = []
        for id, speech in list(self.speeches.items()):
            if len(found) >= most:
                break
            stream = speech.stream
            text = stream.take()
            if text:
                found.append(("words", {"stream": id, "npc": speech.npc, "text": text}))
            happened = stream.events[speech.seen :]
            speech.seen += len(happened)
            for tag in happened:
                if isinstance(tag, Tag):  # a mood or a gesture
                    found.append((tag.kind, {"stream": id, "npc": speech.npc, "name": tag.name}))
            found += [("action", {"stream": id, "npc": speech.npc, **deed}) for deed in speech.deeds]
            speech.deeds.clear()
            if stream.done:
                del self.speeches[id]
                found.append(("done", _end(id, speech)))
        return found

    def close(self) -> None:
        """Cancels this client's replies."""
        speeches, self.speeches = self.speeches, {}
        for speech in speeches.values():
            try:
                speech.stream.cancel()
            except ModkitError as error:
                log.debug("a reply could not be cancelled: %s", error)

    # ---- the methods ----

    def _ping(self, params: Mapping[str, Any]) -> Any:
        _only(params)
        return {}

    def _status(self, params: Mapping[str, Any]) -> Any:
        _only(params)
        engine = self.service.engine
        return {
            "loading": engine.loading,
            "ready": engine.ready,
            "progress": float(engine.progress),
            "model": engine.name,
            "npcs": [{"id": npc.id, "name": npc.name} for npc in self.service.cast.values()],
        }

    def _load(self, params: Mapping[str, Any]) -> Any:
        _only(params, "persona", "id")
        path = self.service.inside(_text(params, "persona", 1000), "a persona")
        id = _text(params, "id", 60) if "id" in params else None
        npc = self.service.add(path, id)
        return {"id": npc.id, "name": npc.name, "turns": npc.turn_count}

    def _say(self, params: Mapping[str, Any]) -> Any:
        _only(params, "text", "npc", "facts", "options")
        if len(self.speeches) >= MAX_STREAMS:
            raise OptionError(f"{MAX_STREAMS} replies are under way for you already: take or cancel some")
        text = _text(params, "text", MAX_TEXT)
        npc = self.service.npc(_text(params, "npc", 60) if "npc" in params else None)
        options = params.get("options", {})
        if not isinstance(options, dict) or not OPTIONS.issuperset(options):
            raise OptionError(f'"options" is a map; its keys are {", ".join(sorted(OPTIONS))}')
        tokens = options.get("max_tokens", 1)
        if isinstance(tokens, int) and tokens > MAX_TOKENS:
            raise OptionError(f"max_tokens={tokens}: at most {MAX_TOKENS} here")
        stream = npc.say(text, facts=_texts(params, "facts", MAX_FACTS, 1000), **options)
        id = self._next
        self._next += 1
        self.speeches[id] = _Speech(stream, npc.id)
        if len(npc.actions):
            self._listen(npc)
        return {"stream": id, "npc": npc.id}

    def _poll(self, params: Mapping[str, Any]) -> Any:
        _only(params)
        return {"events": [[name, values] for name, values in self.events()]}

    def _cancel(self, params: Mapping[str, Any]) -> Any:
        _only(params, "stream")
        id = params.get("stream")
        if type(id) is not int:
            raise OptionError('"stream" is the number that say() gave')
        speech = self.speeches.get(id)
        if speech is not None:
            npc = self.service.cast.get(speech.npc)
            if npc is not None and npc.speaking:
                npc.interrupt()  # what she said so far stands
            speech.stream.cancel()
        return {"cancelled": speech is not None}

    def _actions(self, params: Mapping[str, Any]) -> Any:
        """Declares what a character can do from now on, and the moods and gestures she may show."""
        _only(params, "npc", "actions", "moods", "gestures")
        npc = self.service.npc(_text(params, "npc", 60) if "npc" in params else None)
        given = params.get("actions") or []
        if not isinstance(given, list) or len(given) > MAX_ACTIONS:
            raise OptionError(f'"actions" is a list of at most {MAX_ACTIONS}')
        made = [action_from(one) for one in given]
        tags = [_texts(params, name, 64, 40) for name in ("moods", "gestures")]
        for name in list(npc.actions):
            npc.actions.remove(name)
        for function in made:
            npc.actions.add(function)
        npc.moods, npc.gestures = frozenset(tags[0]), frozenset(tags[1])
        return {"actions": list(npc.actions)}

    def _listen(self, npc: NPC) -> None:
        """Hears of what she does while a reply of ours is under way. Once for each character."""
        if npc in self._heard:
            return
        self._heard.append(npc)
        id = npc.id

        def tell(deed: Deed) -> None:
            speech = next((s for s in reversed(self.speeches.values()) if s.npc == id), None)
            if speech is not None and len(speech.deeds) < 64:
                told = {"name": deed.name, "arguments": deed.arguments, "outcome": deed.outcome, "fact": deed.fact}
                speech.deeds.append(told)

        npc.actions.on_deed(tell)

    def _transcript(self, params: Mapping[str, Any]) -> Any:
        _only(params, "npc", "last")
        npc = self.service.npc(_text(params, "npc", 60) if "npc" in params else None)
        last = params.get("last", 20)
        if type(last) is not int or not 1 <= last <= 100:
            raise OptionError('"last" is a number of turns from 1 to 100')
        turns = npc.transcript[-last:]
        return {"turns": [{"player": t.player, "words": t.words, "reply": t.reply, "finish": t.finish} for t in turns]}

    def _save(self, params: Mapping[str, Any]) -> Any:
        """Answers when everything said so far is on the disk."""
        _only(params, "to")
        save = self.service.save
        if save is None:
            raise OptionError("this server keeps no save: start it with --save FILE")
        to = self.service.inside(_text(params, "to", 1000), "a copy") if "to" in params else None
        self._saving = [earlier for earlier in self._saving if not earlier.ready]
        if len(self._saving) >= MAX_SAVES:
            raise OptionError(f"{MAX_SAVES} saves are under way for you already: wait for one")
        later = Later()
        self._saving.append(later)

        def work() -> None:  # on the helper thread, after every commit that was queued before
            try:
                if to is not None:
                    save.copy_to(to)
                later.result = {"saved": True}
            except ModkitError as error:
                later.error = error
            finally:
                later.ready = True

        self.service.engine.background(work)
        return later


def _end(id: int, speech: _Speech) -> dict[str, Any]:
    stream = speech.stream
    stats = stream.stats
    made: dict[str, Any] = {
        "stream": id,
        "npc": speech.npc,
        "finish": stream.finish,
        "text": stream.text,
        "tokens": stats.generated_tokens,
        "tokens_per_second": float(stats.tokens_per_second),
        "time_to_first_token": float(stats.time_to_first_token),
    }
    if stream.error is not None:
        made["error"] = [type(stream.error).__name__, str(stream.error)]
    return made


def _only(params: Mapping[str, Any], *names: str) -> None:
    unknown = sorted(set(params) - set(names))
    if unknown:
        allowed = ", ".join(names) or "none"
        raise OptionError(f"unknown parameter {unknown[0][:40]!r}; this method's parameters: {allowed}")


def _text(params: Mapping[str, Any], name: str, limit: int) -> str:
    value = params.get(name)
    if not isinstance(value, str) or not value or len(value) > limit:
        raise OptionError(f'"{name}" is a text of 1 to {limit} characters')
    return value


def _texts(params: Mapping[str, Any], name: str, most: int, limit: int) -> list[str]:
    values = params.get(name, [])
    if isinstance(values, dict) and not values:  # a Lua table without elements may have been sent as a map
        values = []
    if not isinstance(values, list) or len(values) > most or not all(isinstance(v, str) for v in values):
        raise OptionError(f'"{name}" is a list of at most {most} texts')
    if any(len(v) > limit for v in values):
        raise OptionError(f'"{name}": at most {limit} characters each')
    return list(values)
