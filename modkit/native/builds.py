"""Builds of llama.cpp in the user's data folder: brought, checked, chosen. `modkit llama` is these functions.

Each build is a folder `llama/NAME` with the library's files and `build.json` (where it came from, its
digest). The name in `llama/current` is the one that `find.py` prefers. A build appears whole or not at
all. install() takes seconds and may use the network: for a command or a setup step, never in a frame.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modkit.errors import LibraryError, OptionError
from modkit.native.find import CURRENT, builds_folder, library_in
from modkit.native.replacing import replace_with
from modkit.native.unpack import unpack

__all__ = ["BACKENDS", "Build", "install", "installed", "package_for", "remove", "use"]

BACKENDS = ("cpu", "vulkan", "cuda")
VERSION = "3.22.1"
# of the packages on npm, as their registry publishes them; others are held to what npm says at the time
INTEGRITY = {
    "linux-x64": "5uCCDNqWCNfaAm8aR/Uzxbo4HBpKgNF91kCHPepKhgMgV2OAmatoefbOlMihsqCiH2Od35E/eUHQCFbfRBJuOg==",
    "linux-x64-vulkan": "bBxqU+JOcBu1nb5Qj2zcMci+JByT1E8EajHvYodyNfVIPkEhXh+/HMwR1/BT7xP08YK0hks+kM8fglER0P8JEg==",
    "linux-x64-cuda": "8rQCjyNNLZJUFit+YpjwlC4hwkKgOMIkB2wuycKBf8NU2O3ySKbiWZQ8aw9ku2nUTXjSnUIrE6KB88itduTBuA==",
    "linux-arm64": "W+7naKCXX9/eEjjFmRS8vvx91QyLXDbeFxexZc3bh/PtQABZgmRL3C0AtYYXn4YGTj/3Qor4lWZn2tpjZFPLdQ==",
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,80}")


@dataclass(frozen=True)
class Build:
    """An installed build. digest: "sha512-…" or "sha256-…" of what it was unpacked from."""

    name: str
    folder: Path
    source: str
    digest: str
    bytes: int
    current: bool

    @property
    def library(self) -> Path | None:
        return library_in(self.folder)


def package_for(backend: str = "cpu") -> str:
    """The npm package's name for this machine, e.g. "linux-x64-vulkan"; raises OptionError, LibraryError."""
    if backend not in BACKENDS:
        raise OptionError(f"{backend!r} is not a backend; there are {', '.join(BACKENDS)}")
    machine = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}.get(platform.machine().lower())
    system = {"linux": "linux", "darwin": "mac", "win32": "win"}.get(sys.platform)
    if machine is None or system is None:
        raise LibraryError(f"no build is published for {sys.platform} on {platform.machine()}; give one by --archive")
    if system == "mac":
        if backend != "cpu":
            raise LibraryError("on a Mac the GPU is used through Metal, which the usual build has: leave --backend out")
        return "mac-arm64-metal" if machine == "arm64" else "mac-x64"
    if machine == "arm64" and backend != "cpu":
        raise LibraryError(f"no {backend} build is published for this processor; give one by --archive")
    return f"{system}-{machine}" + ("" if backend == "cpu" else f"-{backend}")


def install(
    backend: str = "cpu",
    *,
    archive: str | os.PathLike[str] | None = None,
    sha256: str | None = None,
    name: str | None = None,
) -> Build:
    """Brings a build (from npm, or out of an archive) and makes it the one that is used from now on.

    archive: a release of llama.cpp as .tar.gz or .zip; sha256: what it must have. A build of the same
    name is replaced. Raises LibraryError and OptionError; nothing is left behind then. Blocks.
    """
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise OptionError(f"{sha256!r:.80} is not a SHA-256: it has 64 hexadecimal digits")
    if name is not None:
        _check_name(name)
    root = builds_folder()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=root) as folder:
            work = Path(folder)
            if archive is None:
                package = package_for(backend)
                fetched = _fetch(package, work)
                digest = _check_npm(package, fetched)
                source, name = f"@node-llama-cpp/{package}@{VERSION} from npm", name or f"{package}-{VERSION}"
            else:
                fetched = Path(archive)
                digest = _check_archive(fetched, sha256)
                source, name = str(fetched.absolute()), name or _name_of(fetched)
            build = work / "build"
            build.mkdir()
            unpack(fetched, build)
            about = {"source": source, "digest": digest, "bytes": sum(p.stat().st_size for p in build.iterdir())}
            (build / "build.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
            _try(build)
            target = root / name
            if target.exists():
                os.replace(target, work / "old")
            os.replace(build, target)
        use(name)
    except OSError as error:
        raise LibraryError(f"{root} cannot be written: {error.strerror or error}") from None
    return next(found for found in installed() if found.name == name)


def installed() -> list[Build]:
    """What is there, by name."""
    root, chosen = builds_folder(), _current()
    found = []
    try:
        folders = sorted(p for p in root.iterdir() if p.is_dir() and _NAME.fullmatch(p.name))
    except OSError:
        return []
    for folder in folders:
        about = _about(folder)
        if library_in(folder) is not None:
            found.append(
                Build(
                    folder.name,
                    folder,
                    str(about.get("source", "unknown")),
                    str(about.get("digest", "")),
                    int(about.get("bytes", 0)),
                    folder.name == chosen,
                )
            )
    return found


def use(name: str | None) -> None:
    """Makes a build the one that is loaded from now on; None: none of them. Raises LibraryError."""
    current = builds_folder() / CURRENT
    if name is None:
        current.unlink(missing_ok=True)
        return
    _known(name)
    replace_with(current, f"{name}\n".encode())


def remove(name: str) -> None:
    """Deletes a build. Raises LibraryError for one that is not there, or that the system holds on to."""
    folder = _known(name)
    if name == _current():
        use(None)
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise LibraryError(f"{folder} cannot be deleted: {error.strerror or error}; is it in use?") from None


def _current() -> str:
    try:
        return (builds_folder() / CURRENT).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _known(name: str) -> Path:
    _check_name(name)
    folder = builds_folder() / name
    if library_in(folder) is None:
        names = ", ".join(build.name for build in installed()) or "none"
        raise LibraryError(f"there is no build {name!r}; installed: {names}")
    return folder


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise OptionError(f"{name!r:.80} is not a name for a build: letters, digits and ._+- please")


def _about(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "build.json").read_text(encoding="utf-8"))
        return found if isinstance(found, dict) and isinstance(found.get("bytes", 0), int) else {}
    except (OSError, ValueError):
        return {}


def _name_of(archive: Path) -> str:
    stem = re.sub(r"\.(tar\.\w+|tgz|txz|tar|zip)$", "", archive.name, flags=re.IGNORECASE)
    return re.sub(r"[^A-Za-z0-9_.+-]", "-", stem).lstrip("-.")[:80] or "archive"


def _digest(path: Path, kind: str) -> bytes:
    hashed = hashlib.new(kind)
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                hashed.update(block)
    except OSError as error:
        raise LibraryError(f"{path} cannot be read: {error.strerror or error}") from None
    return hashed.digest()


def _check_archive(path: Path, sha256: str | None) -> str:
    found = _digest(path, "sha256").hex()
    if sha256 is not None and found != sha256.lower():
        raise LibraryError(f"{path} has the SHA-256 {found}, not {sha256.lower()}: it is damaged, or another")
    return f"sha256-{found}"


def _npm(arguments: list[str], folder: Path) -> str:
    npm = shutil.which("npm")
    if npm is None:
        raise LibraryError(
            "npm is not here, which fetches the builds: install Node.js, or download a release of llama.cpp for this"
            " machine and give it with --archive FILE"
        )
    try:
        done = subprocess.run([npm, *arguments], cwd=folder, capture_output=True, text=True, timeout=1800)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LibraryError(f"npm could not be run: {error}") from None
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        raise LibraryError(f"npm could not fetch it: {(said or ['it does not say why'])[0].strip()[:300]}")
    return done.stdout


def _fetch(package: str, folder: Path) -> Path:
    _npm(["pack", "--silent", f"@node-llama-cpp/{package}@{VERSION}"], folder)
    found = sorted(folder.glob("*.tgz"))
    if len(found) != 1:
        raise LibraryError(f"npm fetched {len(found)} files instead of @node-llama-cpp/{package}@{VERSION}")
    return found[0]


def _check_npm(package: str, fetched: Path) -> str:
    wanted = INTEGRITY.get(package)
    if wanted is None:
        said = _npm(["view", f"@node-llama-cpp/{package}@{VERSION}", "dist.integrity"], fetched.parent).strip()
        wanted = said.removeprefix("sha512-")
    found = base64.b64encode(_digest(fetched, "sha512")).decode()
    if found != wanted:
        raise LibraryError(f"what npm fetched for {package} has another digest than was published: it is not installed")
    return f"sha512-{found}"


def _try(folder: Path) -> None:
    """A build that this machine cannot load must not become the one that is used.

    In a process of its own, because a library is never unloaded, and its files are about to be renamed.
    """
    code = "import sys; from modkit.native import load; load(sys.argv[1])"
    where = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder)], env=where, capture_output=True, text=True, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LibraryError(f"the build could not be tried: {error}") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"])[-1]
        reason = last.rpartition("LibraryError: ")[2].replace(str(folder) + os.sep, "")
        raise LibraryError(f"this machine cannot use it: {reason}")
