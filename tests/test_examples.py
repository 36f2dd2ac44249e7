"""The small examples do what their first lines say: each runs as it stands, in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modkit.persona import Save, build

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "examples" / "npc_character"
MODEL = DEMO / "sable.gguf"

pytest.importorskip("modkit.native._core", reason="the extension is not built: pip install -e .")


@pytest.fixture(scope="module")
def sable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sable") / "sable.persona"
    build(DEMO / "dump", "Sable", path, card=(DEMO / "card.txt").read_text(encoding="utf-8"), players=["Stranger"])
    return path


def environment() -> dict[str, str]:
    known = {**os.environ, "SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"}
    known["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
    return known


# Somebody at the keyboard: types, reads the answer, asks again and closes the window before she has answered.
PLAYER = """
import runpy, sys, threading, time
import pygame
from pathlib import Path
from modkit.persona import Save

def post(kind, **what):
    pygame.event.post(pygame.event.Event(kind, **what))

def say(words):
    for letter in words:
        post(pygame.TEXTINPUT, text=letter)
    post(pygame.KEYDOWN, key=pygame.K_RETURN)

def play():
    while not pygame.display.get_surface():
        time.sleep(0.01)
    say("Wer bist du, Ж灯?")
    save = Path(sys.argv[2]).with_suffix(".save")
    def turns():
        with Save.open(save) as kept:
            return kept.turns("Sable")
    while not save.exists() or not turns():
        time.sleep(0.05)
    say("And what does the green light mean?")
    post(pygame.QUIT)

threading.Thread(target=play, daemon=True).start()
runpy.run_path("examples/pygame_npc.py")
"""


def test_the_pygame_program_takes_any_letters_and_may_be_closed_in_mid_reply(sable: Path) -> None:
    pytest.importorskip("pygame", reason="pygame-ce is not installed")
    command = [sys.executable, "-c", PLAYER, str(MODEL), str(sable)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with Save.open(sable.with_suffix(".save")) as save:
        first, second = save.turns("Sable")
    assert first.words == "Wer bist du, Ж灯?" and first.reply
    assert second.words == "And what does the green light mean?" and second.finish in ("cancelled", "stop")


def telnet(port: int, name: str) -> tuple[socket.socket, bytes]:
    line = socket.create_connection(("127.0.0.1", port), timeout=60)
    line.sendall(name.encode() + b"\r\n")
    return line, heard(line, b"your words.")


def heard(line: socket.socket, until: bytes) -> bytes:
    words = b""
    while until not in words:
        more = line.recv(4096)
        assert more, f"the server hung up after {words!r}"
        words += more
    return words


@pytest.mark.skipif(os.name != "posix", reason="ended by a signal")
def test_the_mud_serves_several_players_and_keeps_what_was_said(sable: Path, tmp_path: Path) -> None:
    bram = tmp_path / "bram.persona"
    build(DEMO / "dump", "Bram", bram, players=["Stranger"])
    kept = tmp_path / "mud.save"
    command = [sys.executable, "examples/mud/mud.py", str(MODEL), str(sable), str(bram), "--save", str(kept)]
    mud = subprocess.Popen([*command, "--port", "0"], cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert mud.stdout is not None
        port = int(mud.stdout.readline().rsplit(" ", 1)[1])
        ann, welcome = telnet(port, "Ann")
        bo, _ = telnet(port, "Bo")
        assert b"sable, bram" in welcome
        ann.sendall(b"sable Who are you?\r\n")
        bo.sendall(b"sable Who is Hob?\r\nbram Can you swim?\r\n")
        assert b"sable: " in heard(ann, b".\r\n")
        assert b"sable: " in heard(bo, b".\r\n")
        bo.sendall(b"x" * 10_000)  # no person types that: that one line is closed, and the others do not notice
        ann.sendall(b"nobody Are you there?\r\n")
        heard(ann, b"Write a name")
        ann.close()
        bo.close()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and len(told(kept)) < 2:
            time.sleep(0.05)
        mud.send_signal(signal.SIGINT)
        assert mud.wait(60) == 0
    finally:
        mud.kill()
        mud.wait()
        mud.stdout.close()
    assert {("Ann", "Who are you?"), ("Bo", "Who is Hob?")} <= set(told(kept))


def told(kept: Path) -> list[tuple[str, str]]:
    with Save.open(kept) as save:
        return [(turn.player, turn.words) for turn in save.turns("sable")]
