"""Shared fixtures: small models built once a session, and engines on each llama.cpp that is here."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modkit import Engine, Stream
from tests.make_model import make_model

# what this user has installed is not what is tested
os.environ["MODKIT_HOME"] = tempfile.mkdtemp(prefix="modkit-home-")


def libraries() -> list[str]:
    """ "default" is what a plain install finds; a second build comes from MODKIT_TEST_LLAMA (CI sets it)."""
    return ["default", *filter(None, [os.environ.get("MODKIT_TEST_LLAMA")])]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    make_model(folder / "tiny.gguf")
    make_model(folder / "ends.gguf", endless=False)
    make_model(folder / "spm.gguf", kind="spm")
    make_model(folder / "small.gguf", width=256, layers=4, seed=2)
    return folder


@pytest.fixture
def tiny(models: Path) -> Path:
    return models / "tiny.gguf"


@pytest.fixture(params=libraries())
def library(request: pytest.FixtureRequest) -> str | None:
    """Each llama.cpp build in turn."""
    return None if request.param == "default" else str(request.param)


def wait_until(engine: Engine, condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Ticks until the condition holds; fails the test when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        engine.tick()
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.0005)


def finish_all(engine: Engine, streams: list[Stream], seconds: float = 120.0) -> None:
    wait_until(engine, lambda: all(stream.done for stream in streams), seconds)


@pytest.fixture
def make_engine(library: str | None) -> Iterator[Callable[..., Engine]]:
    """A factory of engines that are loaded, and closed after the test."""
    made: list[Engine] = []

    def make(model: Path, *, load: bool = True, **settings: object) -> Engine:
        engine = Engine(model, library=library, **settings)  # type: ignore[arg-type]
        made.append(engine)
        if load:
            wait_until(engine, lambda: not engine.loading)
        return engine

    yield make
    for engine in made:
        engine.close()
