"""Finding a llama.cpp, and refusing one that must not be called."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from modkit import native
from modkit.errors import LibraryError
from modkit.native import layout
from modkit.native.find import candidates, library_in


def build(folder: Path, name: str, source: str) -> Path:
    """A shared library from a few lines of C."""
    (folder / f"{name}.c").write_text(textwrap.dedent(source))
    target = folder / f"{name}.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", target, folder / f"{name}.c"], check=True)
    return target


def test_a_plain_install_finds_a_llama_cpp(library: str | None) -> None:
    found = native.load(library)
    assert found.path.is_absolute()
    assert (int(found.version.split(".")[0]), int(found.version.split(".")[1])) in ((0, 5), (0, 6))
    assert any(device.kind == "cpu" for device in found.devices())


def test_raw_functions_are_reachable_with_their_types(library: str | None) -> None:
    found = native.load(library)
    assert found.raw.llama_supports_mmap() in (True, False)
    assert b"CPU" in found.ffi.string(found.raw.llama_print_system_info()) or found.devices()
    block, params = found.context_params()
    assert (params.n_ctx, params.n_batch, params.offload_kqv) == (512, 2048, True)
    assert found.ffi.sizeof(block[0]) == 512


def test_symbols_do_not_leak_into_the_process(library: str | None) -> None:
    native.load(library)
    from cffi import FFI

    ffi = FFI()
    ffi.cdef("void llama_backend_init(void);")
    with pytest.raises(AttributeError):
        _ = ffi.dlopen(None).llama_backend_init


def test_the_argument_goes_before_the_variable_and_the_variable_before_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "libllama.so").write_bytes(b"")
    monkeypatch.setenv("MODKIT_LLAMA", str(tmp_path / "two"))
    assert [c.path.parent.name for c in candidates(tmp_path / "one")] == ["one"]
    assert [(c.path.parent.name, c.origin) for c in candidates()] == [("two", "MODKIT_LLAMA")]
    monkeypatch.delenv("MODKIT_LLAMA")
    assert "xllamacpp" in [c.origin.split()[-1] for c in candidates()]


def test_a_folder_without_a_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODKIT_LLAMA", str(tmp_path))
    with pytest.raises(LibraryError, match="MODKIT_LLAMA names the folder .* holds no llama.cpp"):
        native.load()
    monkeypatch.setenv("MODKIT_LLAMA", str(tmp_path / "gone"))
    with pytest.raises(LibraryError, match="does not exist"):
        native.load()


def test_helper_libraries_are_not_taken_for_llama_cpp(tmp_path: Path) -> None:
    (tmp_path / "libllama-common.so").write_bytes(b"")
    assert library_in(tmp_path) is None
    (tmp_path / "libllama.v0.5.0.so").write_bytes(b"")
    found = library_in(tmp_path)
    assert found is not None and found.name == "libllama.v0.5.0.so"


def test_a_file_that_is_no_library_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "libllama.so"
    path.write_text("not a library")
    with pytest.raises(LibraryError, match="cannot be loaded"):
        native.load(path)


def test_a_library_without_llama_functions_is_refused(tmp_path: Path) -> None:
    path = build(tmp_path, "libllama", "int nothing(void) { return 0; }")
    with pytest.raises(LibraryError, match="has no llama_version"):
        native.load(path)


def test_an_unknown_version_is_refused_with_what_is_supported(tmp_path: Path) -> None:
    path = build(tmp_path, "libllama", 'const char *llama_version(void) { return "0.9.1"; }')
    with pytest.raises(LibraryError, match=r"llama.cpp 0\.9\.1; modkit supports 0\.5 and 0\.6"):
        native.load(path)


def test_an_unknown_layout_is_refused_before_any_struct_is_passed(tmp_path: Path) -> None:
    """The right version, the right names, a struct that grew: it must not be called."""
    path = build(
        tmp_path,
        "libllama",
        """
        #include <string.h>
        typedef struct { unsigned char bytes[200]; } params;
        const char *llama_version(void) { return "0.6.0"; }
        params llama_model_default_params(void) { params p; memset(&p, 0, sizeof p); return p; }
        params llama_context_default_params(void) { params p; memset(&p, 0, sizeof p); p.bytes[1] = 2; return p; }
        """,
    )
    with pytest.raises(LibraryError, match=r"llama\.cpp 0\.6\.0.*layout modkit does not know.*supported"):
        native.load(path)


def test_the_layouts_differ_where_they_were_measured_to() -> None:
    older, newer = layout.KNOWN
    assert older.offset("context", "abort_callback") + 8 == newer.offset("context", "abort_callback")
    assert older.offset("model", "progress_callback") == newer.offset("model", "progress_callback")


def test_the_doctor_names_a_fix_for_what_is_missing(tmp_path: Path) -> None:
    good = {finding.subject: finding for finding in native.report()}
    assert good["llama.cpp"].good and good["threads"].value[0].isdigit()
    bad = {finding.subject: finding for finding in native.report(tmp_path)}
    assert not bad["llama.cpp"].good
    assert "MODKIT_LLAMA" in bad["llama.cpp"].fix


@pytest.mark.parametrize(("text", "expected"), [("4GiB", 4 << 30), ("512 MiB", 512 << 20), ("1.5G", 3 << 29), (7, 7)])
def test_sizes_are_read_as_people_write_them(text: int | str, expected: int) -> None:
    assert native.parse_bytes(text) == expected


def test_importing_modkit_is_light_and_quiet() -> None:
    """No numpy, no template engine, no event loop, nothing printed, before anything is used."""
    code = "import modkit, sys; print(sorted(m for m in sys.modules if m.split('.')[0] in sys.argv[1:]))"
    heavy = [
        "numpy",
        "jinja2",
        "asyncio",
        "multiprocessing",
        "ssl",
        "apsw",
        "pygame",
        "xllamacpp",
        "cffi",
        "pycparser",
        "ctypes",
    ]
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""


def test_an_engine_brings_in_neither_numpy_nor_a_c_parser(tiny: Path) -> None:
    code = (
        "import modkit, sys\nwith modkit.Engine(sys.argv[1]) as e: e.generate('x', max_tokens=2).result(30)\n"
        "print(sorted({'numpy', 'pycparser', 'asyncio', 'xllamacpp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tiny)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
