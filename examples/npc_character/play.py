"""The demo: a window on the harbour of Corrow, where Sable answers what the player types.

    python examples/npc_character/play.py            type to her
    python examples/npc_character/play.py --demo     watch a scripted talk; writes out/play.png and out/play.json

Without a display the scripted talk runs without a window. The window knows nothing of the model: it emits
"player_says" to the mod in mods/harbour and shows the "subtitle" events that the mod emits.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FPS = 60


def main(argv: list[str] | None = None) -> int:
    """Run the demo; returns its exit code."""
    options = _options(argv)
    windowless = not _has_display()
    if windowless:
        os.environ["SDL_VIDEODRIVER"] = "dummy"
        _say("There is no display here, so there is no window.")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        import pygame
    except ImportError:
        return _fail(
            "The demo draws with pygame-ce, which is missing here: pip install pygame-ce, or run make play."
        )
    from modkit.errors import ModkitError

    pygame.display.init()
    pygame.font.init()
    try:
        screen = _open_window(pygame, windowless)
    except pygame.error as error:
        return _fail(
            f"No window can be opened ({error}); run it without one: SDL_VIDEODRIVER=dummy make play"
        )
    try:
        return _play(options, screen, scripted=options.demo or windowless)
    except ModkitError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return 0
    finally:
        pygame.quit()


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Talk to Sable, the lamp keeper of Corrow.")
    parser.add_argument("--demo", action="store_true", help="a scripted talk that ends by itself")
    parser.add_argument(
        "--model", type=Path, default=HERE / "sable.gguf", help="any GGUF (default: Sable's own)"
    )
    parser.add_argument("--out", type=Path, default=Path("out"), help="where results go (default: out)")
    parser.add_argument("--turns", type=int, help="of the scripted talk (default: all)")
    parser.add_argument(
        "--fake", action="store_true", help="scripted words instead of a model, for work on the scene"
    )
    return parser.parse_args(argv)


def _has_display() -> bool:
    if os.environ.get("SDL_VIDEODRIVER") in ("dummy", "offscreen"):
        return False
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _open_window(pygame: Any, windowless: bool) -> Any:
    from backdrop import SIZE

    if windowless:
        return pygame.display.set_mode(SIZE)
    flags = pygame.SCALED | pygame.RESIZABLE
    try:
        screen = pygame.display.set_mode(SIZE, flags, vsync=1)
    except pygame.error:  # not every renderer can wait for the screen
        screen = pygame.display.set_mode(SIZE, flags)
    pygame.display.set_caption("Corrow, the last week of autumn")
    pygame.key.set_repeat(350, 35)
    pygame.key.start_text_input()
    return screen


def _play(options: argparse.Namespace, screen: Any, *, scripted: bool) -> int:
    from portrait import MOODS
    from prompts import Recorder
    from script import Talk
    from window import Window

    from modkit.host import Host

    options.out.mkdir(parents=True, exist_ok=True)
    persona = _persona(options.out)
    save = options.out / ("demo.save" if scripted else "harbour.save")
    if scripted:
        _forget(save)
    engine = Recorder(_engine(options))
    try:
        with Host(HERE / "mods", engine=engine, save=save) as host:
            host.add_persona("sable", persona, moods=MOODS)
            window = Window(screen, host, engine)
            host.settle()  # what was loaded stays; a full collection over it would cost a frame
            sys.setswitchinterval(0.0005)  # else the engine's helper thread may keep a frame waiting for 5 ms
            if not scripted:
                _run(window, host)
                return 0
            _say("The scripted talk begins; it takes about a minute.")
            talk = Talk(window, host, engine, options.turns, _say)
            _run(window, host, talk)
            if not window.open:  # the player had seen enough
                return 0
            talk.write(options.out)
            _say(f"A picture: {options.out / 'play.png'}. What was said and measured: {options.out / 'play.json'}")
            return 0 if talk.complete else _fail(talk.problem)
    finally:
        engine.close()


def _run(window: Any, host: Any, talk: Any = None) -> None:
    """The game loop: one frame each 1/60 s until the window is closed or the talk is over."""
    from modkit.errors import EngineError

    period = 1_000_000_000 // FPS
    now = time.perf_counter_ns()
    due = now
    while window.open:
        previous, now = now, time.perf_counter_ns()
        window.frame(min(0.1, (now - previous) / 1e9), now - previous)
        if host.engine_failure:
            raise EngineError(host.engine_failure)
        if talk is not None and not talk.step():
            return
        due = max(due + period, time.perf_counter_ns() - period)
        time.sleep(max(0, due - time.perf_counter_ns()) / 1e9)


def _persona(out: Path) -> Path:
    """Sable's persona file, built from her dump when it is missing or older than the dump."""
    path = out / "sable.persona"
    sources = [HERE / "card.txt", *sorted((HERE / "dump").iterdir())]
    if not path.exists() or path.stat().st_mtime < max(source.stat().st_mtime for source in sources):
        from modkit.persona import build

        card = (HERE / "card.txt").read_text(encoding="utf-8").strip()
        build(HERE / "dump", "Sable", path, card=card, players=["Stranger"])
    return path


def _engine(options: argparse.Namespace) -> Any:
    if options.fake:
        from script import fake_engine

        return fake_engine()
    import modkit

    return modkit.Engine(options.model, context=1024, slots=1)


def _forget(save: Path) -> None:
    for path in save.parent.glob(save.name + "*"):  # with SQLite's journal
        path.unlink()


def _say(text: str) -> None:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), flush=True)


def _fail(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
