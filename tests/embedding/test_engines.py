"""Sable speaks inside game engines that are Python programs: pygame-ce, Panda3D, and a frozen game's interpreter.

Each runs as a process of its own, as a game does, without a display.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.embedding.conftest import MODEL, MODS, ROOT, WORDS

PYGAME = """
import json, sys
import pygame
import modkit

model, persona, mods, words = sys.argv[1:]
pygame.init()
screen = pygame.display.set_mode((640, 120))
font = pygame.font.Font(None, 24)
clock = pygame.time.Clock()
said, done = [], []
with modkit.Engine(model, context=1024, slots=1) as engine, modkit.Host(mods, engine=engine) as host:
    host.add_persona("sable", persona)
    host.subscribe("subtitle", lambda event: said.append(event.text) if not done else None)
    host.subscribe("answered", done.append)
    host.emit("player_says", text=words, options={"seed": 1})
    frames = 0
    while not done and frames < 3600:
        for event in pygame.event.get():
            pass
        host.tick(clock.tick(60) / 1000)
        screen.fill((16, 18, 28))  # after the tick: the last words may come with the end
        screen.blit(font.render("".join(said), True, (246, 239, 222)), (10, 40))
        pygame.display.flip()
        frames += 1
    ink = pygame.transform.threshold(None, screen, (246, 239, 222), (60, 60, 60), set_behavior=0)
print(json.dumps({"said": "".join(said), "frames": frames, "ink": ink}))
pygame.quit()
"""

PANDA = """
import json, sys
from panda3d.core import PNMImage, TextNode, loadPrcFileData
loadPrcFileData("", "load-display p3tinydisplay\\nwindow-type offscreen\\nwin-size 640 120\\naudio-library-name null\\n"
                    "notify-level error\\nsync-video false")
from direct.showbase.ShowBase import ShowBase
from direct.gui.OnscreenText import OnscreenText
import modkit

model, persona, mods, words = sys.argv[1:]
base = ShowBase()
base.setBackgroundColor(0, 0, 0)
bubble = OnscreenText(text="", fg=(1, 1, 1, 1), scale=0.15, align=TextNode.ACenter, wordwrap=30, mayChange=True)
done = []
state = {"said": ""}
engine = modkit.Engine(model, context=1024, slots=1)
host = modkit.Host(mods, engine=engine)
host.add_persona("sable", persona)

def subtitle(event):
    if not done:
        state["said"] += event.text
        bubble.setText(state["said"])

host.subscribe("subtitle", subtitle)
host.subscribe("answered", done.append)
host.emit("player_says", text=words, options={"seed": 1})

def talk(task):
    host.tick(globalClock.getDt())
    return task.done if done else task.cont

base.taskMgr.add(talk, "modkit")
globalClock.setMode(globalClock.MLimited)
globalClock.setFrameRate(60)
frames = 0
while not done and frames < 3600:
    base.taskMgr.step()
    frames += 1
base.graphicsEngine.renderFrame()
base.graphicsEngine.renderFrame()
picture = PNMImage()
seen = base.win.getScreenshot(picture)
places = [(x, y) for x in range(picture.getXSize()) for y in range(picture.getYSize())] if seen else []
ink = sum(picture.getGray(x, y) > 0.5 for x, y in places)
host.close()
engine.close()
print(json.dumps({"said": state["said"], "frames": frames, "ink": ink, "shown": bubble.getText()}))
"""

FROZEN = """
import sys
plain, paths, model, persona, mods, words, out = sys.argv[1:]
sys.path[:] = [plain, *paths.split(chr(58) if chr(59) not in paths else chr(59))]
sys.argv[:] = []
real = sys.stdout
sys.stdout = sys.__stdout__ = sys.stderr = sys.__stderr__ = sys.stdin = None
sys.executable = "/games/Corrow.exe"
import modkit
said, done = [], []
with modkit.Engine(model, context=1024, slots=1) as engine:
    with modkit.Host(mods, engine=engine, save=out, watchdog="interrupt", watch=True) as host:
        host.add_persona("sable", persona)
        host.subscribe("subtitle", lambda event: said.append(event.text) if not done else None)
        host.subscribe("answered", done.append)
        host.emit("player_says", text=words, options={"seed": 1})
        import time
        frames = 0
        while not done and frames < 3600:
            host.tick(1 / 60)
            time.sleep(1 / 60)
            frames += 1
from modkit.cli import main
assert main(["doctor"]) in (0, 1)
assert main(["no such command"]) == 2
import json
where = sys.modules["modkit"].__file__
distributions = [name for name in sys.modules if name.startswith("importlib.metadata")]
real.write(json.dumps({"said": "".join(said), "frames": frames, "where": where, "metadata": distributions}))
real.flush()
"""


def run(script: str, *arguments: object, isolated: bool = False, **environment: str) -> dict[str, Any]:
    known = {**os.environ, "SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "PYTHONPATH": str(ROOT)}
    known.update(PYGAME_HIDE_SUPPORT_PROMPT="1", **environment)
    command = [sys.executable, *(["-I", "-S"] if isolated else []), "-c", script, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=known, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def need(module: str, package: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{package} is not installed here: pip install {package}")


def test_sable_speaks_in_pygame(sable: Path) -> None:
    need("pygame", "pygame-ce")
    found = run(PYGAME, MODEL, sable, MODS, WORDS)
    assert len(found["said"].split()) >= 2 and found["frames"] > 1
    assert found["ink"] > 100, "her words are in the picture"


def test_sable_speaks_in_panda3d(sable: Path) -> None:
    need("panda3d", "panda3d")
    found = run(PANDA, MODEL, sable, MODS, WORDS)
    assert len(found["said"].split()) >= 2 and found["frames"] > 1
    assert found["shown"] == found["said"]
    assert found["ink"] > 100, "her words are in the picture"


def test_sable_speaks_in_a_game_that_is_its_own_python(
    sable: Path, plain_folder: Path, search_paths: str, tmp_path: Path
) -> None:
    save = tmp_path / "a.save"
    found = run(FROZEN, plain_folder, search_paths, MODEL, sable, MODS, WORDS, save, isolated=True)
    assert len(found["said"].split()) >= 2 and found["frames"] > 1
    assert Path(found["where"]).parent == plain_folder / "modkit"
    assert save.is_file()
