"""`modkit fit` and the engine's options as somebody types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modkit.cli import main
from tests.make_model import make_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("fit") / "m.gguf", width=256, layers=4)


def test_fit_says_layers_context_and_bytes_of_each_part(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", str(model), "--vram", "1GiB", "--context", "1024"]) == 0
    said = capsys.readouterr().out
    assert "layers on the GPU: 5 of 5" in said and "context: 1024 tokens" in said
    for part in ("weights", "kv", "compute", "in all"):
        assert part in said


def test_a_smaller_gpu_takes_fewer_layers_and_less_cache(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def plan(*more: str) -> dict[str, object]:
        assert main(["fit", str(model), "--json", "--context", "1024", *more]) == 0
        found = json.loads(capsys.readouterr().out)
        assert isinstance(found, dict)
        return found

    whole = plan("--vram", "1GiB")
    tight = plan("--vram", f"{int(str(whole['gpu'])) - 200_000}")
    assert 0 < int(str(tight["layers"])) < 5 and int(str(tight["gpu"])) < int(str(whole["gpu"]))
    assert tight["steps"] and whole["steps"] == []
    small = plan("--vram", "1GiB", "--kv-type", "q8_0,q4_0")
    assert small["parts"]["kv"]["gpu"] < whole["parts"]["kv"]["gpu"]  # type: ignore[index]


def test_what_fits_nowhere_and_what_is_wrong_is_said_in_one_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", str(model), "--vram", "1MiB", "--ram", "1MiB"]) == 1
    assert "memory may be used" in capsys.readouterr().err
    assert main(["fit", str(model), "--vram", "a lot"]) == 2
    assert main(["fit", str(model), "--layers", "most"]) == 2
    (tmp_path / "bad.gguf").write_bytes(b"GGUF")
    assert main(["fit", str(tmp_path / "bad.gguf")]) == 1
    assert capsys.readouterr().err.count("\n") == 3


def test_how_the_model_is_run_can_be_said_to_every_command_that_runs_one(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["generate", str(model), "the lamp", "--max-tokens", "5", "--context", "256", "--threads", "1"]
    assert main([*line, "--gpu-layers", "0", "--vram", "1GiB", "--draft-model", str(model)]) == 0
    assert capsys.readouterr().out.strip()
    assert main([*line, "--gpu-layers", "most"]) == 2
    assert main([*line, "--vram", "a lot"]) == 2
    assert main([*line, "--draft-model", str(tmp_path / "none.gguf")]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert "gpu_layers" in said[0] and "a lot" in said[1] and "none.gguf does not exist" in said[2]
    for command in ("chat", "play", "serve"):
        assert main([command, "--help"]) == 0
        assert "--vram SIZE" in capsys.readouterr().out
