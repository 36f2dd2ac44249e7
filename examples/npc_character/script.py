"""The scripted talk: types the player's lines, waits for Sable, takes the picture, measures, writes the report."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pygame
from overlay import percentiles

HERE = Path(__file__).resolve().parent
LINES = (
    "Who are you?",
    "How many steps are there in your tower?",
    "What does the green light mean?",
    "Who is Hob?",
    "Where can I sleep?",
    "What happened to the Heron?",
    "Tell me about your cat.",
    "Did the lamp go out last night?",
    "Can you lend me a lantern?",
    "Take me to the Blue Eel.",
)
SEED = 20  # the first turn's; each turn has the next
TYPING = 45.0  # characters a second
PATIENCE = 120.0  # seconds for the model to load, or for one answer


def fake_engine() -> Any:
    """An engine without a model, for work on the scene."""
    from modkit.testing import FakeEngine

    return FakeEngine(
        (
            "Sable. I keep the lamp. Most people here call me keeper, when they call me at all.",
            "Ninety-one. Step forty is loose. You will meet it on the way down.",
            "The green pane looks down the channel. A boat that sees green is safe. A boat that sees white must turn.",
        ),
        pace=0.4,
        loading=30,
    )


NOTES = {
    "work_ms": "input, host.tick and drawing of a frame, without the flip and the sleep after it",
    "interval_ms": "from the beginning of a frame to the beginning of the next",
    "retention": "the talk's prompts once more, each with the scene running at 60 fps and with a loop that only "
    "ticks and sleeps, in turns; tokens per second of the first over the second",
}


class Talk:
    """Drives a `Window` from beside the game loop: `step()` after each frame, until it returns False."""

    def __init__(
        self, window: Any, host: Any, engine: Any, turns: int | None, say: Callable[[str], None]
    ) -> None:
        self._window = window
        self._say = say
        self._host = host
        self._engine = engine
        self._lines = LINES[:turns]
        self._started = time.monotonic()
        self._picture: tuple[float, pygame.Surface] | None = None
        self._retention: dict[str, Any] = {}
        self._problem = ""
        self._frames: dict[str, Any] = {}
        self._steps = self._run()

    @property
    def complete(self) -> bool:
        """True when every line got an answer."""
        return not self._problem

    @property
    def problem(self) -> str:
        """What went wrong, in one sentence; empty when nothing did."""
        return self._problem

    def step(self) -> bool:
        """Go on with the talk; False when it is over."""
        return next(self._steps, None) is not None

    def _run(self) -> Generator[bool, None, None]:
        window = self._window
        if not (yield from self._until(lambda: self._engine.ready)):
            self._problem = f"The model was not loaded within {PATIENCE:g} s."
            return
        yield from self._pause(1.2)
        window.measuring = True
        for number, line in enumerate(self._lines):
            yield from self._type(line)
            self._host.emit("player_says", text=window.input.send(), options={"seed": SEED + number})
            answered = number + 1
            if not (
                yield from self._until(lambda n=answered: len(window.answers) >= n and window.bubble.settled)
            ):
                self._problem = f"Sable gave no answer to {line!r} within {PATIENCE:g} s."
                return
            self._say(f"Stranger: {line}\nSable: {window.answers[-1][1].text.strip()}")
            yield from self._pause(0.5)
            self._take_picture()
            yield from self._pause(0.9)
        window.measuring = False
        self._frames = self._measured()
        self._say("Measuring: the same words once more, with the scene running and without.")
        yield from self._compare()

    def _type(self, line: str) -> Generator[bool, None, None]:
        typed = 0.0
        began = self._window.time
        while int(typed) < len(line):
            until = min(len(line), int((self._window.time - began) * TYPING))
            self._window.input.type(line[int(typed) : until])
            typed = until
            yield True
        yield from self._pause(0.25)

    def _pause(self, seconds: float) -> Generator[bool, None, None]:
        end = self._window.time + seconds
        while self._window.time < end:
            yield True

    def _until(self, condition: Any) -> Generator[bool, None, bool]:
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end or not self._window.open:
                return False
            yield True
        return True

    def _take_picture(self) -> None:
        """Keep the best frame: a full bubble that is not cut, and the lamp's beam across the sky."""
        window = self._window
        length = len(window.bubble.text)
        worth = (min(length, 120) if length <= 190 else 60.0) * (0.6 + 0.4 * window.scene.beam_at(window.time))
        worth *= 1 + 2 * len(window.deeds)  # with everything on it that she did
        if self._picture is None or worth > self._picture[0]:
            self._picture = (worth, self._window.screen.copy())

    # ---- retention: the same prompts with the scene running, and with a loop that only ticks and sleeps ----

    def _compare(self, rounds: int = 3) -> Generator[bool, None, None]:
        self._engine.recording = False
        scene: list[tuple[int, float]] = []
        idle: list[tuple[int, float]] = []
        for number in range(rounds * len(self._engine.prompts)):
            messages, options = self._engine.prompts[number % len(self._engine.prompts)]
            for with_scene in (number % 2 == 0, number % 2 == 1):
                stream = self._engine.chat(messages, **options)
                if with_scene:
                    while not stream.done:
                        yield True
                else:
                    while not stream.done:
                        self._host.tick(1 / 60)
                        time.sleep(1 / 60)
                speed = stream.stats.tokens_per_second
                if speed > 0:
                    (scene if with_scene else idle).append((stream.stats.generated_tokens - 1, speed))
        if scene and idle:
            fast, slow = _speed(idle), _speed(scene)
            self._retention = {
                "scene_tokens_per_second": round(slow, 1),
                "idle_tokens_per_second": round(fast, 1),
                "ratio": round(slow / fast, 3),
                "replies": len(scene),
                "tokens": sum(count for count, _ in scene),
            }

    def _measured(self) -> dict[str, Any]:
        window = self._window
        return {
            "work_ms": percentiles(window.work.values(), 1e6),
            "work_ms_while_speaking": percentiles(window.speaking_work.values(), 1e6),
            "interval_ms": percentiles(window.interval.values(), 1e6),
            "tick_us": percentiles(window.tick.values(), 1e3),
            "tick_us_while_speaking": percentiles(window.speaking_tick.values(), 1e3),
        }

    # ---- the report ----

    def write(self, out: Path) -> None:
        """Write play.png and play.json into the folder `out`."""
        pygame.image.save(self._picture[1] if self._picture else self._window.screen, out / "play.png")
        text = json.dumps(self.report(), indent=2, ensure_ascii=False)
        (out / "play.json").write_text(text + "\n", encoding="utf-8")

    def report(self) -> dict[str, Any]:
        """Everything that was said and measured, as JSON values."""
        turns = self._host.npc("sable").transcript
        answers = self._window.answers
        transcript = [
            _turn(turn, reply) for turn, (_, reply) in zip(turns[-len(answers) :], answers, strict=False)
        ]
        speeds = [entry["stats"]["tokens_per_second"] for entry in transcript]
        return {
            "complete": self.complete,
            "problem": self._problem or None,
            "seconds": round(time.monotonic() - self._started, 1),
            "model": self._engine.name,
            "machine": {
                "system": platform.platform(),
                "processors": os.cpu_count(),
                "python": platform.python_version(),
                "video": pygame.display.get_driver(),
            },
            "transcript": transcript,
            "frames": self._frames,
            "notes": NOTES,
            "tokens_per_second": round(statistics.median(speeds), 1) if speeds else 0.0,
            "retention": self._retention,
            "mods": {
                mod.id: {
                    "state": mod.state,
                    "failures": mod.failures,
                    "seconds": round(mod.seconds, 6),
                    "last_error": mod.last_error,
                }
                for mod in self._host.report.values()
            },
        }


def _speed(replies: list[tuple[int, float]]) -> float:
    """Tokens per second over all replies: tokens by the time they took, not a mean of rates."""
    return sum(count for count, _ in replies) / sum(count / speed for count, speed in replies)


def _memory(memory: Any) -> dict[str, Any]:
    """A memory as JSON; its source is named from this folder, not from the root of somebody's disk."""
    found: dict[str, Any] = memory.as_json()
    file = Path(found["source"]["file"])
    if file.is_relative_to(HERE):
        found["source"]["file"] = file.relative_to(HERE).as_posix()
    return found


def _turn(turn: Any, reply: Any) -> dict[str, Any]:
    stats = reply.stats
    return {
        "player": turn.words,
        "sable": turn.reply,
        "finish": turn.finish,
        "mood": next((event.name for event in reply.events if getattr(event, "kind", "") == "mood"), None),
        "deeds": [str(deed) for deed in turn.deeds],
        "memories": [_memory(memory) for memory in turn.memories],
        "stats": {
            "prompt_tokens": stats.prompt_tokens,
            "cached_tokens": stats.cached_tokens,
            "generated_tokens": stats.generated_tokens,
            "time_to_first_token": round(stats.time_to_first_token, 4),
            "tokens_per_second": round(stats.tokens_per_second, 1),
        },
    }
