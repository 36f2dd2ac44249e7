"""Sable and her model, for games that are not Python programs."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

import pytest

from modkit.persona import build

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "examples" / "npc_character"
MODEL = DEMO / "sable.gguf"
MODS = DEMO / "mods"
WORDS = "Who are you?"

pytest.importorskip("modkit.native._core", reason="the extension is not built: pip install -e .")


@pytest.fixture(scope="session")
def sable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sable") / "sable.persona"
    card = (DEMO / "card.txt").read_text(encoding="utf-8").strip()
    build(DEMO / "dump", "Sable", path, card=card, players=["Stranger"])
    return path


@pytest.fixture(scope="session")
def plain_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """modkit as a game ships it: a folder with the package in it and nothing that pip would leave."""
    folder = tmp_path_factory.mktemp("plain")
    shutil.copytree(ROOT / "modkit", folder / "modkit", ignore=shutil.ignore_patterns("__pycache__", "*.c", "*.h"))
    return folder


@pytest.fixture(scope="session")
def search_paths() -> str:
    """Python's own library, and where modkit's dependencies lie."""
    paths = [sysconfig.get_path("stdlib"), sysconfig.get_config_var("DESTSHARED")]
    paths += [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    return os.pathsep.join(dict.fromkeys(filter(None, paths)))
