"""The worker in C, alone, over a scripted llama.cpp (tests/native/c), under the sanitizers.

The promises are in the C programs, a function each; this file builds them three ways and runs them. The
programs print a line "ok NAME" for each promise kept and end the process at the first broken one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "c"
NATIVE = Path(__file__).parents[2] / "modkit" / "native"
PARTS = (
    *("core", "callbacks", "job", "block", "group"),
    *("worker", "schedule", "prefill", "cache", "request", "speak", "load", "text", "gguf", "tools", "store", "embed"),
    *("fit", "tune", "curve", "calibrate", "draft", "guess", "disk", "files", "shift", "seat", "adapter", "interrupt"),
    *("thought", "chain", "score", "sample", "hold", "words", "grammar", "gbnf", "network"),
)
SHARED = [NATIVE / f"{name}.c" for name in PARTS] + [HERE / "fake_llama.c", HERE / "harness.c"]

FLAGS = {
    "plain": ["-O2", "-Wall", "-Wextra", "-Werror"],
    "address+undefined": ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "thread": ["-O1", "-g", "-fsanitize=thread"],
}
PROGRAMS = {
    "engine": ("plain", "address+undefined", "thread"),
    "death": ("plain", "address+undefined", "thread"),
    "sample": ("plain", "address+undefined", "thread"),
    "guess": ("plain", "address+undefined", "thread"),
    "embed": ("plain", "address+undefined", "thread"),
    "stress": ("plain", "address+undefined", "thread"),
    "cache": ("plain", "address+undefined", "thread"),
    "interrupt": ("plain", "address+undefined", "thread"),
    "schedule": ("plain", "address+undefined", "thread"),
    # one thread only: nothing that the thread sanitizer could see
    "grammar": ("plain", "address+undefined"),
    "gguf": ("plain", "address+undefined"),
    "text": ("plain", "address+undefined"),
}


def environment(program: str) -> dict[str, str]:
    # a dead engine's memory is left alone by design, so the deaths are a program of their own
    leaks = 0 if program == "death" else 1
    options = {"ASAN_OPTIONS": f"detect_leaks={leaks}", "UBSAN_OPTIONS": "print_stacktrace=1", "TSAN_OPTIONS": ""}
    return {**os.environ, **options}


@dataclass
class Build:
    kind: str
    folder: Path
    objects: list[Path]

    def program(self, name: str) -> Path:
        path = self.folder / name
        gcc(self.kind, [HERE / f"test_{name}.c", *self.objects], "-o", path)
        return path


def gcc(kind: str, sources: list[Path], *arguments: str | Path, cwd: Path | None = None) -> None:
    command = ["gcc", *FLAGS[kind], "-pthread", f"-I{NATIVE}", f"-I{HERE}", *arguments, *sources, "-lm"]
    made = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr


def build(kind: str, folder: Path) -> Build:
    """Compiles what all programs share; skips, with the reason, where this machine cannot."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is missing, so the worker cannot be tested alone (install gcc)")
    if kind != "plain":
        nothing = folder / "nothing.c"
        nothing.write_text("int main(void) { return 0; }\n", encoding="utf-8")
        program = folder / "nothing"
        made = subprocess.run(["gcc", *FLAGS[kind], nothing, "-o", program], capture_output=True, text=True)
        ran = None if made.returncode else subprocess.run([program], capture_output=True, text=True)
        if ran is None or ran.returncode:
            words = (made.stderr if ran is None else ran.stderr).strip().splitlines()
            pytest.skip(f"no {kind} sanitizer here: {words[-1] if words else 'it does not run'}")
    gcc(kind, SHARED, "-c", cwd=folder)
    return Build(kind, folder, [folder / f"{path.stem}.o" for path in SHARED])


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Build]:
    """Each kind is built once, when its first program asks for it."""
    return cache(lambda kind: build(kind, tmp_path_factory.mktemp(re.sub(r"\W", "-", kind))))


PAIRS = [(kind, program) for kind in FLAGS for program, kinds in PROGRAMS.items() if kind in kinds]


@pytest.mark.parametrize(("kind", "program"), PAIRS)
def test_the_worker_keeps_its_promises(builds: Callable[[str], Build], kind: str, program: str) -> None:
    made = builds(kind)
    ran = subprocess.run(
        [made.program(program), made.folder],
        env=environment(program),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=320,
    )
    story = f"{ran.stdout[-3000:]}\n{ran.stderr[-6000:]}"
    assert ran.returncode == 0, story
    assert "Sanitizer" not in ran.stderr and "runtime error" not in ran.stderr, story
    kept = re.findall(r"^ok (\w+)", ran.stdout, re.M)
    promised = re.findall(r"^    RUN\((\w+)\);", (HERE / f"test_{program}.c").read_text(encoding="utf-8"), re.M)
    assert kept == promised and promised
