"""The demo, as `make play` runs it without a display: it ends by itself, and its picture and figures are real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PLAY = ROOT / "examples" / "npc_character" / "play.py"

pytest.importorskip("modkit.native._core", reason="the extension is not built: pip install -e .")


def play(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {**os.environ, "SDL_VIDEODRIVER": "dummy", **environment}
    known["PYTHONPATH"] = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), str(ROOT)]))
    command = [sys.executable, str(PLAY), *options]
    return subprocess.run(command, cwd=ROOT, env=known, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    done = play("--turns", "3", "--out", str(folder))
    assert (done.returncode, done.stderr) == (0, "")
    return folder


@pytest.fixture(scope="module")
def report(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "play.json").read_text(encoding="utf-8"))
    return found


def test_sable_answers_every_line(report: dict[str, Any]) -> None:
    assert report["complete"] and report["problem"] is None
    assert len(report["transcript"]) == 3
    for turn in report["transcript"]:
        assert len(turn["sable"].split()) >= 2
        assert turn["finish"] in ("stop", "length")
        assert turn["stats"]["tokens_per_second"] > 0


def test_her_memories_are_named_with_their_places_in_the_dump(report: dict[str, Any]) -> None:
    memories = [memory for turn in report["transcript"] for memory in turn["memories"]]
    assert memories
    for memory in memories:
        source = memory["source"]
        assert (PLAY.parent / source["file"]).is_file() and source["place"]
        assert memory["text"].strip()


def test_a_turn_prefills_only_what_is_new(report: dict[str, Any]) -> None:
    for earlier, later in zip(report["transcript"], report["transcript"][1:], strict=False):
        assert later["stats"]["cached_tokens"] >= earlier["stats"]["prompt_tokens"]


def test_frames_and_ticks_were_measured_and_the_mod_had_no_failure(report: dict[str, Any]) -> None:
    frames = report["frames"]
    for name in ("work_ms", "interval_ms", "tick_us"):
        assert 0 < frames[name]["p50"] <= frames[name]["p99"] <= frames[name]["max"]
        assert frames[name]["samples"] > 100
    assert frames["work_ms_while_speaking"]["samples"] > 0
    assert frames["work_ms"]["p50"] < 1000 / 60
    retention = report["retention"]
    assert retention["replies"] >= 3
    assert retention["ratio"] == pytest.approx(
        retention["scene_tokens_per_second"] / retention["idle_tokens_per_second"], rel=0.01
    )
    assert report["mods"]["harbour"]["state"] == "running"
    assert report["mods"]["harbour"]["failures"] == 0


def test_the_picture_shows_her_words_in_the_bubble_and_the_overlay(out: Path) -> None:
    pygame = pytest.importorskip("pygame", reason="pygame-ce is not installed")
    picture = pygame.image.load(out / "play.png")
    assert picture.get_size() == (960, 540)

    def near(area: tuple[int, int, int, int], color: tuple[int, int, int]) -> list[tuple[int, int]]:
        left, top, width, height = area
        return [
            (x, y)
            for x in range(left, left + width)
            for y in range(top, top + height)
            if all(abs(a - b) <= 40 for a, b in zip(picture.get_at((x, y))[:3], color, strict=True))
        ]

    paper = near((150, 150, 404, 200), (246, 239, 222))
    assert len(paper) > 6_000
    left, right = min(x for x, _ in paper) + 16, max(x for x, _ in paper) - 16
    top, bottom = min(y for _, y in paper) + 14, max(y for _, y in paper) - 14
    assert len(near((left, top, right - left, bottom - top), (44, 38, 46))) > 250, "ink on the paper"
    for color in ((124, 196, 255), (152, 232, 170)):
        assert len(near((16, 16, 250, 116), color)) > 60, "a line for the frame's work, one for the tick"


def test_the_talk_was_saved_and_the_persona_is_built_once(out: Path) -> None:
    from modkit.persona import Save

    with Save.open(out / "demo.save") as save:
        assert len(save.turns("Sable")) == 3
    before = (out / "sable.persona").stat().st_mtime_ns
    assert play("--turns", "1", "--fake", "--out", str(out)).returncode == 0
    assert (out / "sable.persona").stat().st_mtime_ns == before


def test_what_is_missing_is_said_in_one_line(tmp_path: Path) -> None:
    done = play("--model", str(tmp_path / "nothing.gguf"), "--out", str(tmp_path))
    assert done.returncode == 1
    assert "nothing.gguf" in done.stderr and len(done.stderr.splitlines()) == 1
    (tmp_path / "pygame.py").write_text("raise ImportError('not here')")
    done = play("--out", str(tmp_path), PYTHONPATH=str(tmp_path))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "pip install pygame-ce" in done.stderr
