"""Model files that are not what they should be: one clear error each, and the process lives."""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from gguf import GGUFReader

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


DAMAGE = """
    import random, sys, time
    import modkit
    from modkit.errors import ModkitError

    source, target, header, library = sys.argv[1:]
    whole = open(source, "rb").read()
    refused = 0
    for seed in range(200):
        dice = random.Random(seed)
        data = bytearray(whole)
        data[dice.randrange(int(header))] ^= 1 << dice.randrange(8)
        open(target, "wb").write(data)
        try:
            with modkit.Engine(target, context=128, library=library or None) as engine:
                while engine.loading:
                    engine.tick()
                    time.sleep(0.0005)
                engine.generate("the lamp", max_tokens=3).result(20)
        except ModkitError as error:
            assert str(error), seed
            refused += 1
    print("refused", refused)
"""


def test_two_hundred_bit_flips_in_the_header_are_each_refused_or_harmless(
    tiny: Path, tmp_path: Path, library: str | None
) -> None:
    """Own process, so that a crash is a failed test and not the end of the suite.

    A flip inside a token's text or a name leaves a model that is whole, only different: it may load.
    """
    header = GGUFReader(tiny).data_offset
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(DAMAGE),
        str(tiny),
        str(tmp_path / "x.gguf"),
        str(header),
        library or "",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[1]) > 100


def test_closing_while_a_model_loads_is_prompt_and_leaves_nothing(tiny: Path, library: str | None) -> None:
    for _ in range(20):
        engine = Engine(tiny, library=library)
        engine.close()
        assert not engine.loading and not engine.ready
