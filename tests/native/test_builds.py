"""Bringing a llama.cpp: from an archive or through npm, checked, unpacked without surprises, used from then on."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from modkit.cli import main
from modkit.errors import LibraryError, OptionError
from modkit.native import builds, doctor
from modkit.native.find import candidates, library_in, package_folder
from modkit.native.unpack import MAX_ENTRIES, unpack


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODKIT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MODKIT_LLAMA", raising=False)
    return tmp_path / "home"


@pytest.fixture(scope="module")
def library() -> Path:
    """A real library to put into archives: the one of the default install, which is a single file."""
    folder = package_folder("xllamacpp")
    found = library_in(folder) if folder else None
    assert found is not None
    return found


@pytest.fixture(scope="module")
def release(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Like an official release: a folder build/bin, programs beside the library, and links for versions."""
    path = tmp_path_factory.mktemp("release") / "llama-b1-bin-linux.tar"
    with tarfile.open(path, "w") as t:
        t.add(library, "build/bin/libllama.so.0.6.0")
        for name, target in (("libllama.so.0", "libllama.so.0.6.0"), ("libllama.so", "libllama.so.0")):
            link = tarfile.TarInfo(f"build/bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, target
            t.addfile(link)
        for name in ("build/bin/llama-cli", "build/bin/LICENSE", "README.md"):
            add(t, name, b"x")
    return path


def add(t: tarfile.TarFile, name: str, data: bytes = b"x") -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    t.addfile(info, io.BytesIO(data))


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*")) if folder.exists() else []


def test_an_archive_is_installed_and_used_from_then_on(
    release: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = hashlib.sha256(release.read_bytes()).hexdigest()
    assert main(["llama", "install", "--archive", str(release), "--sha256", digest.upper()]) == 0
    assert f"sha256-{digest}" in capsys.readouterr().out
    (build,) = builds.installed()
    assert build.name == "llama-b1-bin-linux" and build.current and build.digest == f"sha256-{digest}"
    assert names(build.folder) == ["LICENSE", "build.json", "libllama.so", "libllama.so.0", "libllama.so.0.6.0"]
    assert not any(p.is_symlink() for p in build.folder.iterdir())
    first = next(iter(candidates()))
    assert first.origin == "modkit llama install" and first.path == build.library

    assert main(["llama", "install", "--archive", str(release), "--name", "second"]) == 0
    capsys.readouterr()
    assert main(["llama", "list", "--json"]) == 0
    assert [build["name"] for build in json.loads(capsys.readouterr().out)] == ["llama-b1-bin-linux", "second"]
    assert main(["llama", "list"]) == 0 and "* second" in capsys.readouterr().out
    assert [(b.name, b.current) for b in builds.installed()] == [("llama-b1-bin-linux", False), ("second", True)]
    assert main(["llama", "use", "llama-b1-bin-linux"]) == 0
    assert next(iter(candidates())).path.parent.name == "llama-b1-bin-linux"
    assert main(["llama", "remove", "llama-b1-bin-linux"]) == 0
    assert "modkit llama install" not in [c.origin for c in candidates()]
    assert main(["llama", "use", "none"]) == 0 and main(["llama", "use", "gone"]) == 1
    assert main(["llama", "use", "../second"]) == 2 and main(["llama", "remove", ".."]) == 2
    assert [b.name for b in builds.installed()] == ["second"]


def test_an_engine_runs_on_what_was_installed(release: Path, tiny: Path) -> None:
    builds.install(archive=release)
    code = (
        "import sys, modkit\nwith modkit.Engine(sys.argv[1]) as e:\n"
        "    e.generate('x', max_tokens=2).result(60); print(e.library.origin)"
    )
    done = subprocess.run([sys.executable, "-c", code, tiny], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "modkit llama install"


def test_another_digest_is_refused_and_nothing_is_left(release: Path, home: Path) -> None:
    with pytest.raises(LibraryError, match="has the SHA-256"):
        builds.install(archive=release, sha256="0" * 64)
    with pytest.raises(OptionError, match="64 hexadecimal"):
        builds.install(archive=release, sha256="abc")
    with pytest.raises(OptionError, match="not a name"):
        builds.install(archive=release, name="../up")
    with pytest.raises(LibraryError, match="cannot be read"):
        builds.install(archive=home / "nothing.tar.gz")
    assert names(home) in ([], ["llama"]) and builds.installed() == []


def test_a_library_that_this_machine_cannot_load_is_not_chosen(tmp_path: Path, home: Path) -> None:
    path = tmp_path / "other.tar.gz"
    with tarfile.open(path, "w:gz") as t:
        add(t, "bin/libllama.so", b"for another processor")
    with pytest.raises(LibraryError, match="this machine cannot use it"):
        builds.install(archive=path)
    assert builds.installed() == [] and names(home) == ["llama"]


def link(t: tarfile.TarFile, name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    t.addfile(info)


def device(t: tarfile.TarFile, kind: bytes) -> None:
    info = tarfile.TarInfo("bin/device.so")
    info.type = kind
    t.addfile(info)


TARS: dict[str, tuple[Callable[[tarfile.TarFile], None], str]] = {
    "a path above": (lambda t: add(t, "../../evil.so"), "leads out"),
    "a path above, deep": (lambda t: add(t, "bin/../../evil.so"), "leads out"),
    "an absolute path": (lambda t: add(t, "/etc/evil.so"), "leads out"),
    "a drive": (lambda t: add(t, "C:\\evil.so"), "leads out"),
    "a path of Windows": (lambda t: add(t, "bin\\..\\..\\evil.so"), "leads out"),
    "a link outside": (lambda t: link(t, "bin/libggml.so", "/etc/passwd"), "leads elsewhere"),
    "a link above": (lambda t: link(t, "bin/libggml.so", "../../x"), "leads elsewhere"),
    "a link to nothing": (lambda t: link(t, "bin/libggml.so", "gone.so"), "link to nothing"),
    "a circle of links": (lambda t: (link(t, "bin/a.so", "b.so"), link(t, "bin/b.so", "a.so"))[0], "link to nothing"),
    "a hard link": (lambda t: link(t, "bin/libggml.so", "/etc/passwd", tarfile.LNKTYPE), "no file"),
    "a device": (lambda t: device(t, tarfile.CHRTYPE), "no file"),
    "a pipe": (lambda t: device(t, tarfile.FIFOTYPE), "no file"),
    "the same name twice": (lambda t: (add(t, "bin/A.so"), add(t, "bin/a.so"))[0], "twice"),
    "two libraries": (lambda t: add(t, "other/libllama.so"), "several"),
    "a name of a device": (lambda t: add(t, "bin/con.so"), "odd name"),
    "a name that hides": (lambda t: add(t, "bin/.evil.so"), "odd name"),
    "a name with a line's end": (lambda t: add(t, "bin/a\nb.so"), "odd name"),
}


@pytest.mark.parametrize("what", TARS)
def test_a_tar_with_a_trick_in_it_is_refused(tmp_path: Path, what: str) -> None:
    make, reason = TARS[what]
    path, into = tmp_path / "x.tar.gz", tmp_path / "into"
    into.mkdir()
    with tarfile.open(path, "w:gz") as t:
        add(t, "bin/libllama.so")
        make(t)
    before = names(tmp_path)
    with pytest.raises(LibraryError, match=reason):
        unpack(path, into)
    assert [n for n in names(tmp_path) if n not in before and not (into / n).is_file()] == []
    assert all(p.is_file() and not p.is_symlink() for p in into.iterdir())


def test_a_zip_with_a_trick_in_it_is_refused(tmp_path: Path) -> None:
    tricks = {"../evil.so": "leads out", "/evil.so": "leads out", "bin/nul.so": "odd name"}
    for i, (name, reason) in enumerate(tricks.items()):
        path = tmp_path / f"{i}.zip"
        with zipfile.ZipFile(path, "w") as z:
            z.writestr("bin/llama.dll", "x")
            z.writestr(name, "x")
        with pytest.raises(LibraryError, match=reason):
            unpack(path, tmp_path)
    path = tmp_path / "link.zip"
    with zipfile.ZipFile(path, "w") as z:
        info = zipfile.ZipInfo("bin/libllama.so")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        z.writestr(info, "/etc/passwd")
    with pytest.raises(LibraryError, match="no file"):
        unpack(path, tmp_path)


def test_a_bomb_is_refused_before_it_fills_the_disk(tmp_path: Path) -> None:
    for name in ("bomb.zip", "bomb.tar.gz"):
        path, into = tmp_path / name, tmp_path / f"of-{name}"
        into.mkdir()
        zeros = bytes(80 << 20)
        if name.endswith("zip"):
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
                z.writestr("libllama.so", zeros)
        else:
            with tarfile.open(path, "w:gz", compresslevel=1) as t:
                add(t, "libllama.so", zeros)
        with pytest.raises(LibraryError, match="more than 64 MiB"):
            unpack(path, into)
        assert names(into) == []
    with zipfile.ZipFile(tmp_path / "lies.zip", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("libllama.so", zeros)
        z.filelist[0].file_size = 10  # what the directory announces is not what comes
    (tmp_path / "lies").mkdir()
    with pytest.raises(LibraryError):
        unpack(tmp_path / "lies.zip", tmp_path / "lies")
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as z:
        for i in range(MAX_ENTRIES + 1):
            z.writestr(f"{i}", "")
    with pytest.raises(LibraryError, match="more than 20000 files"):
        unpack(tmp_path / "many.zip", tmp_path)


def test_what_is_no_archive_or_cut_short_is_named(release: Path, tmp_path: Path) -> None:
    for name, data in (("text.tar.gz", b"hello"), ("empty.zip", b""), ("cut.tar", release.read_bytes()[:900_000])):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(LibraryError, match=name):
            unpack(tmp_path / name, tmp_path)
    with tarfile.open(tmp_path / "other.tar", "w") as t:
        add(t, "bin/libmtmd.so")
    with pytest.raises(LibraryError, match="no llama.cpp library"):
        unpack(tmp_path / "other.tar", tmp_path)


@pytest.fixture
def npm(release: Path, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An npm that fetches a package made here: the network's part, and nothing else, is played."""
    package = tmp_path / "bin" / "package.tgz"
    package.parent.mkdir()
    with tarfile.open(package, "w:gz", compresslevel=1) as t:
        t.add(library, "package/bins/linux-x64/libllama.v0.6.0.so")
        add(t, "package/package.json", b"{}")
        add(t, "package/bins/linux-x64/llama-addon.node")
    digest = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
    script = package.with_name("npm")
    script.write_text(f'#!/bin/sh\nif [ "$1" = view ]; then echo sha512-{digest}; else cp "{package}" ./x.tgz; fi\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{package.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(builds, "INTEGRITY", {})
    return script


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the archives here are for Linux")
def test_npms_build_is_held_to_the_published_digest(npm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = builds.install()
    assert build.name == f"{builds.package_for()}-{builds.VERSION}" and build.current
    assert names(build.folder) == ["build.json", "libllama.v0.6.0.so"]
    builds.remove(build.name)
    monkeypatch.setattr(builds, "INTEGRITY", {builds.package_for(): "AAAA"})
    with pytest.raises(LibraryError, match="another digest"):
        builds.install()
    npm.write_text("#!/bin/sh\necho 'npm error network is down' >&2; exit 1\n")
    with pytest.raises(LibraryError, match="npm could not fetch it.*network is down"):
        builds.install()
    assert builds.installed() == []


def test_without_npm_the_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LibraryError, match="--archive FILE"):
        builds.install()
    with pytest.raises(OptionError, match="not a backend"):
        builds.install("quantum")


def test_the_doctor_says_when_a_better_build_is_within_reach(
    release: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = {finding.subject: finding for finding in doctor.report()}
    assert found["faster build"].fix == "modkit llama install" and found["faster build"].good
    build = builds.install(archive=release)
    builds.use(None)
    found = {finding.subject: finding for finding in doctor.report()}
    assert found["faster build"].fix == f"modkit llama use {build.name}"
    monkeypatch.setattr(doctor, "unused_gpu", lambda: "vulkan")
    found = {finding.subject: finding for finding in doctor.report()}
    assert found["gpu"].fix == "modkit llama install --backend vulkan"


def test_a_choice_that_names_nothing_or_leads_away_is_passed_over(home: Path, tmp_path: Path) -> None:
    (home / "llama").mkdir(parents=True)
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "libllama.so").write_bytes(b"x")
    for text in ("gone", "../../evil", str(tmp_path / "evil"), "", "\0", "x" * 10_000):
        (home / "llama" / "current").write_text(text)
        assert "modkit llama install" not in [c.origin for c in candidates()]
