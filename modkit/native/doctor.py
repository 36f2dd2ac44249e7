"""What `modkit doctor` says: what was found on this machine, and the fix where something is missing."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from modkit.errors import LibraryError, ModkitError
from modkit.native.library import Library, load
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
        fix = "pip install xllamacpp, `modkit llama install`, or set MODKIT_LLAMA to a libllama file or its folder"
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
    backend = unused_gpu() if not gpus else ""
    if not gpus:
        fix = f"modkit llama install --backend {backend}" if backend else ""
        found_one = f"; there is one that a {backend} build could" if backend else ""
        lines.append(Finding("gpu", f"none that this build can use: models run on the CPU{found_one}", True, fix))
    lines.extend(_faster(found, bool(gpus)))
    return lines


def unused_gpu() -> str:
    """The backend ("cuda", "vulkan") that a graphics card of this machine seems to want; "" when there is none.

    Only names of drivers are looked for, so that nothing of a driver is loaded.
    """
    here: str = sys.platform  # by name: mypy knows only the one it runs on
    if here == "win32":
        system = Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32"
        return "cuda" if (system / "nvcuda.dll").exists() else "vulkan" if (system / "vulkan-1.dll").exists() else ""
    if here.startswith("linux"):
        if Path("/proc/driver/nvidia/version").exists():
            return "cuda"
        cards = list(Path("/dev/dri").glob("renderD*")) if Path("/dev/dri").is_dir() else []
        return "vulkan" if cards else ""
    return ""


def _faster(found: Library, has_gpu: bool) -> list[Finding]:
    """Whether a better build than the loaded one is within reach: installed and not used, or a command away."""
    from modkit.native.builds import installed, package_for  # archives, processes: nothing that a game need load

    others = [build for build in installed() if build.library != found.path]
    if found.origin == "modkit llama install" or has_gpu:
        return []
    if others:
        names = ", ".join(build.name for build in others)
        why = "MODKIT_LLAMA names another" if os.environ.get("MODKIT_LLAMA") else "none of them is chosen"
        return [Finding("faster build", f"installed: {names}; {why}", True, f"modkit llama use {others[0].name}")]
    picks_cpu = any(p.name.count("-") > 1 for p in found.path.parent.glob("libggml-cpu-*"))
    try:
        package = package_for("cpu")
    except ModkitError:
        return []
    if picks_cpu:  # a build of that kind already
        return []
    value = f"{package}, with code for this very processor: 10 to 30% more words a second were measured, more in a cast"
    return [Finding("faster build", value, True, "modkit llama install")]


def _packages() -> list[Finding]:
    known = (
        ("apsw", "SQLite with FTS5, for personas and saves", "pip install apsw", True),
        ("sqlite_vec", "vectors in SQLite", "pip install sqlite-vec", True),
        ("jinja2", "chat templates", "pip install jinja2", True),
        ("msgpack", "events and saves", "pip install msgpack", True),
        ("packaging", "versions of mods", "pip install packaging", True),
        ("pygame", "the demo's window", "pip install pygame-ce", False),
    )
    lines = []
    for module, purpose, fix, needed in known:
        there = importlib.util.find_spec(module) is not None
        value = purpose if there else f"missing: {purpose}"
        lines.append(Finding(module, value, there or not needed, "" if there else fix))
    return lines
