"""One frame of the demo: input, the host's tick, the picture; each measured without the sleep that follows it."""

from __future__ import annotations

import time
from typing import Any

import pygame
from bubble import Bubble, InputLine
from overlay import Meter, Overlay
from portrait import Portrait
from scene import MOUTH, Scene

_KEPT = 60 * 60 * 60  # frames in an hour


class Window:
    """The game: a scene, a bubble, an input line, and the overlay. `frame()` runs one frame."""

    def __init__(self, screen: pygame.Surface, host: Any, engine: Any) -> None:
        self.screen = screen
        self.open = True
        self.time = 0.0
        self.scene = Scene()
        self.bubble = Bubble(MOUTH)
        self.input = InputLine()
        self.overlay = Overlay()
        self.portrait = Portrait()
        self.deeds: list[Any] = []
        self.reply: Any = None
        self.answers: list[tuple[str, Any]] = []
        self.work, self.tick, self.interval = Meter(_KEPT), Meter(_KEPT), Meter(_KEPT)
        self.speaking_work, self.speaking_tick = Meter(_KEPT), Meter(_KEPT)
        self.measuring = False
        self._host = host
        self._engine = engine
        self._began: tuple[int, int] | None = None
        host.subscribe("subtitle", self._subtitle)
        host.subscribe("answered", lambda event: self.answers.append((event.question, event.reply)))
        host.subscribe("mood", self._mood)
        host.subscribe("deed", self._deed)
        host.subscribe("gull", lambda event: self.scene.send_gull())

    def frame(self, dt: float, interval_ns: int) -> None:
        """Input, tick, drawing, and then the flip, which may wait for the screen and is not measured."""
        began = time.perf_counter_ns()
        self._read_input()
        before_tick = time.perf_counter_ns()
        self._host.tick(dt)
        tick_ns = time.perf_counter_ns() - before_tick
        speed = self._speed()
        speaking = self.reply is not None and not self.reply.done
        self._draw(dt, speaking)
        work_ns = time.perf_counter_ns() - began
        self.overlay.add(work_ns, tick_ns, speed)
        if self.measuring:
            self.work.add(work_ns)
            self.tick.add(tick_ns)
            self.interval.add(interval_ns)
            if speaking:
                self.speaking_work.add(work_ns)
                self.speaking_tick.add(tick_ns)
        pygame.display.flip()

    def submit(self) -> None:
        """Send what was typed to the mods."""
        words = self.input.send()
        if words and self._engine.ready:
            self._host.emit("player_says", text=words)

    def _draw(self, dt: float, speaking: bool) -> None:
        self.time += dt
        lit = 1.0 if self._engine.ready else 0.35 * self._engine.progress
        self.scene.lamp += (lit - self.scene.lamp) * min(1.0, 2.5 * dt)
        self.scene.draw(self.screen, self.time, dt, speaking=speaking or not self.bubble.settled)
        self.bubble.draw(self.screen, self.time, dt)
        self.input.draw(self.screen, self.time)
        self.overlay.draw(self.screen)
        self.portrait.draw(self.screen, dt)

    def _mood(self, event: Any) -> None:
        self.portrait.mood = event.mood

    def _deed(self, event: Any) -> None:
        self.deeds.append(event)
        self.portrait.note(event.words, event.taken)

    def _subtitle(self, event: Any) -> None:
        if event.reply is None:
            self.bubble.close()
        elif event.reply is not self.reply:
            self.reply = event.reply
            self._began = None
            self.bubble.begin(event.speaker)
        self.bubble.say(event.text)

    def _speed(self) -> float | None:
        """Tokens per second of the reply under way; None while nobody speaks."""
        reply = self.reply
        if reply is None or (reply.done and self._began is None):
            return None
        if reply.done:
            self._began = None
            return float(reply.stats.tokens_per_second)
        count = reply.stats.generated_tokens
        now = time.perf_counter_ns()
        if self._began is None:
            if count:
                self._began = (now, count)
            return None
        spent = now - self._began[0]
        return (count - self._began[1]) / spent * 1e9 if spent > 30_000_000 else None

    def _read_input(self) -> None:
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                self.open = False
            elif event.type == pygame.TEXTINPUT:
                self.input.type(event.text)
            elif event.type == pygame.KEYDOWN:
                self._key(event.key)

    def _key(self, key: int) -> None:
        if key == pygame.K_ESCAPE:
            self.open = False
        elif key == pygame.K_F1:
            self.overlay.visible = not self.overlay.visible
        elif key == pygame.K_BACKSPACE:
            self.input.erase()
        elif key in (pygame.K_RETURN, pygame.K_KP_ENTER):
            self.submit()
