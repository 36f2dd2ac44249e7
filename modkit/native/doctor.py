"""What `modkit doctor` says: what was found on this machine, and the fix where something is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from dataclasses import dataclass

from modkit.errors import LibraryError
from modkit.native.library import load
from modkit.native.settings import default_threads

__all__ = ["Finding", "report"]


@dataclass(frozen=True)
class Finding:
    """One line of the report. `fix` is empty when nothing is to be done; `good` False when something is missing."""

    subject: str
    value: str
    good: bool = True
    fix: str = ""


def report(library: str | os.PathLike[str] | None = None) -> list[Finding]:
    """Looks around; loads llama.cpp (as an Engine would), nothing else. Never raises."""
    findings = [
        Finding("python", f"{platform.python_version()} ({platform.machine()}, {sys.platform})"),
        *_library(library),
        *_packages(),
    ]
    return findings


def _library(path: str | os.PathLike[str] | None) -> list[Finding]:
    try:
        found = load(path)
    except LibraryError as error:
        fix = "pip install xllamacpp, or set MODKIT_LLAMA to a libllama file or its folder"
        return [Finding("llama.cpp", str(error), False, fix)]
    devices = found.devices()
    gpus = [device for device in devices if device.kind in ("gpu", "igpu")]
    lines = [
        Finding("llama.cpp", f"{found.version} from {found.path} ({found.origin})"),
        Finding("layout", f"known, as of {found.layout.since}"),
        *(
            Finding("device", f"{d.name}: {d.description} ({d.kind}, {d.free >> 20} of {d.total >> 20} MiB free)")
            for d in devices
        ),
        Finding("cpu features", found.system_info()),
        Finding(
            "threads",
            f"{default_threads()} by default, so that the game keeps the other cores (of {os.cpu_count()})",
        ),
    ]
    if not gpus:
        fix = "for a GPU, point MODKIT_LLAMA at a Vulkan or CUDA build of llama.cpp"
        lines.append(Finding("gpu", "none that this build can use; models run on the CPU", True, fix))
    return lines


def _packages() -> list[Finding]:
    known = (
        ("apsw", "SQLite with FTS5, for personas and saves", "pip install apsw", True),
        ("sqlite_vec", "vectors in SQLite", "pip install sqlite-vec", True),
        ("jinja2", "chat templates", "pip install jinja2", True),
        ("msgpack", "events and saves", "pip install msgpack", True),
        ("pygame", "the demo's window", "pip install pygame-ce", False),
    )
    lines = []
    for module, purpose, fix, needed in known:
        there = importlib.util.find_spec(module) is not None
        value = purpose if there else f"missing: {purpose}"
        lines.append(Finding(module, value, there or not needed, "" if there else fix))
    return lines
