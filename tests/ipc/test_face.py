"""Engine's face, name by name: every kind of engine shows it, or docs/protocol.md says why not."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modkit import Engine, IsolatedEngine, RemoteEngine, errors
from modkit.engine import AnyEngine
from modkit.testing import FakeEngine
from tests.conftest import wait_until

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
KINDS = [IsolatedEngine, RemoteEngine, FakeEngine]


def attributes(kind: type) -> set[str]:
    """What __init__ sets on the object, itself or in a class above."""
    found = set()
    for one in kind.__mro__[:-1]:
        if "__init__" in vars(one):
            for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(one.__init__)))):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                    found.add(node.attr)
    return found


def public(kind: type) -> set[str]:
    return {name for name in {*dir(kind), *attributes(kind)} if not name.startswith("_")}


def absent(kind: type) -> set[str]:
    """The names that the page says this kind does not have."""
    rows = re.findall(r"^\| `([a-z_]+)` \| (.*?) \| none: ", PAGE, re.MULTILINE)
    return {name for name, kinds in rows if kind.__name__ in kinds}


@pytest.mark.parametrize("kind", KINDS)
def test_every_public_name_of_an_engine_is_there_or_the_page_says_why_not(kind: type) -> None:
    missing = public(Engine) - public(kind)
    assert missing == absent(kind)
    assert public(Engine) >= {"chat", "metadata", "name", "path", "perf", "vocab"}, "the walk finds what is public"


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_call_fits_every_kind(kind: type) -> None:
    for name in sorted(public(Engine) & public(kind)):
        ours, theirs = inspect.getattr_static(Engine, name, None), inspect.getattr_static(kind, name, None)
        if inspect.isfunction(ours):
            assert inspect.isfunction(theirs), name
            assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters), name


def test_the_protocol_names_what_all_have() -> None:
    shared = set.intersection(*(public(kind) for kind in [Engine, *KINDS])) - {"library"}
    named = {name for name in {*vars(AnyEngine), *AnyEngine.__annotations__} if not name.startswith("_")}
    assert named == shared


@pytest.fixture
def engines(tiny: Path) -> Iterator[dict[str, Any]]:
    with IsolatedEngine(tiny, context=512) as isolated, RemoteEngine("http://127.0.0.1:9", retries=0) as remote:
        yield {"isolated": isolated, "remote": remote, "fake": FakeEngine(name="fake")}


def test_what_cannot_be_had_has_a_sentence_and_what_can_is_the_same(
    engines: dict[str, Any], tiny: Path, make_engine: Callable[..., Engine]
) -> None:
    here = make_engine(tiny, context=512)
    isolated = engines["isolated"]
    wait_until(isolated, lambda: isolated.ready)
    assert isolated.metadata == here.metadata != {}
    assert isolated.info.keys() == here.info.keys()
    assert engines["fake"].info == {"name": "fake", "context": 4096}
    assert engines["remote"].info == {}
    for name, engine in engines.items():
        assert engine.perf() == {}, name
        with pytest.raises(errors.EngineError, match="vocabulary"):
            _ = engine.vocab


def test_a_paused_engine_stays_where_it_is(engines: dict[str, Any]) -> None:
    fake = engines["fake"]
    stream = fake.generate("?")
    fake.pause()
    for _ in range(20):
        fake.tick()
    assert not stream.done and not stream.text
    fake.resume()
    assert stream.result(10) == "The lamp is lit, the sea is quiet."
    remote = engines["remote"]
    stream = remote.generate("?")
    remote.pause()
    while not remote._news:  # the refusal has come, and is kept
        remote.tick()
    assert not stream.done
    remote.resume()
    with pytest.raises(errors.EngineError):
        stream.result(30)
