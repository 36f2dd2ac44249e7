"""What llama.cpp and the worker say in the host's log: what matters, and nothing of what was stopped on request."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from modkit import Engine
from tests.conftest import finish_all, wait_until
from tests.make_model import make_recurrent

Make = Callable[..., Engine]


def test_a_model_that_must_be_slower_says_why_once(
    tmp_path: Path, make_engine: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "modkit.llama")
    engine = make_engine(make_recurrent(tmp_path / "mamba.gguf"), context=256)
    for prompt in ("the lamp went out", "the lamp is in the harbour"):
        engine.generate(prompt, max_tokens=4).result(60)
    said = [record.getMessage() for record in caplog.records if "recurrent: " in record.getMessage()]
    assert len(said) == 2 and "cannot be cut" in said[0] and "cannot be shifted" in said[1]
    for line, limit in zip(said, engine.info["limits"]):
        assert line.endswith(limit)


def test_what_was_stopped_on_request_is_no_error(
    models: Path, make_engine: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """llama.cpp says "failed to decode" of a decode that it was told to give up."""
    caplog.set_level(logging.DEBUG, "modkit.llama")
    for _ in range(4):
        engine = make_engine(models / "small.gguf", context=4096)  # the calibration is under way
        stream = engine.generate("the lamp and the tide " * 150, max_tokens=4)  # ends it
        wait_until(engine, lambda stream=stream: stream.stats.prompt_tokens > 0)  # type: ignore[misc]
        stream.cancel()  # in the midst of a prefill
        finish_all(engine, [stream])
        engine.close()
    lines = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert lines
    assert not [line for line in lines if line[0] in ("WARNING", "ERROR") and "decode" in line[1]]
