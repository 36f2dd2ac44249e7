"""Model files that are not what they should be: one clear error each, and the process lives."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from modkit import Engine
from modkit.errors import ModelError
from tests.conftest import wait_until


def load_error(path: Path, library: str | None) -> str | None:
    """Why a file cannot be loaded; None when it can."""
    try:
        engine = Engine(path, context=128, library=library)
    except ModelError as error:
        return str(error)
    try:
        wait_until(engine, lambda: not engine.loading)
    except ModelError as error:
        return str(error)
    finally:
        engine.close()
    return None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"Dear diary, today the lamp went out.\n" * 50, "not a GGUF"),
        (b"GGUF", "cut short"),
        (b"FUGG" + bytes(100), "not a GGUF"),
        (b"GGUF" + (3).to_bytes(4, "big") + bytes(100), "big-endian"),
        (b"GGUF" + (9).to_bytes(4, "little") + bytes(100), "version 9"),
        (b"GGUF" + (3).to_bytes(4, "little") + b"\xff" * 16, "announces"),
        (b"GGUF" + (3).to_bytes(4, "little") + bytes(16), "architecture"),
    ],
)
def test_a_file_that_is_no_model_is_named_as_what_it_is(
    tmp_path: Path, library: str | None, content: bytes, reason: str
) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    error = load_error(path, library)
    assert error is not None and reason in error and "broken.gguf" in error


def test_a_folder_and_a_missing_file_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a folder"):
        Engine(tmp_path)
    with pytest.raises(ModelError, match="does not exist"):
        Engine(tmp_path / "nothing.gguf")


def test_a_truncated_model_is_refused_wherever_it_ends(tiny: Path, tmp_path: Path, library: str | None) -> None:
    whole = tiny.read_bytes()
    dice = random.Random(7)
    cuts = [len(whole) - 1, *(dice.randrange(4, len(whole)) for _ in range(19))]
    for cut in cuts:
        path = tmp_path / f"cut{cut}.gguf"
        path.write_bytes(whole[:cut])
        assert load_error(path, library), f"{cut} of {len(whole)} bytes were taken for a model"


def test_closing_while_a_model_loads_is_prompt_and_leaves_nothing(tiny: Path, library: str | None) -> None:
    for _ in range(20):
        engine = Engine(tiny, library=library)
        engine.close()
        assert not engine.loading and not engine.ready
