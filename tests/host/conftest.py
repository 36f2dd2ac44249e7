from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from modkit.host import Host


@pytest.fixture
def write_mod(tmp_path: Path) -> Callable[..., Path]:
    """Write a mod into `tmp_path/mods`: `write_mod("id", "script")`, or with `toml=` and more files."""

    def write(ident: str, script: str = "", *, toml: str | None = None, **files: str) -> Path:
        folder = tmp_path / "mods" / ident
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "mod.toml").write_text(toml if toml is not None else f'id = "{ident}"\n')
        (folder / "main.py").write_text("from modkit.host import *\n" + dedent(script))
        for name, text in files.items():
            (folder / f"{name}.py").write_text(dedent(text))
        return folder

    return write


@pytest.fixture
def mods(tmp_path: Path) -> Path:
    folder = tmp_path / "mods"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(autouse=True)
def close_hosts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close every host that a test made, so that none leaves its mods in `sys.modules` for the next."""
    made: list[Host] = []
    begin = Host.__init__

    @functools.wraps(begin)
    def remember(self: Host, *args: Any, **options: Any) -> None:
        begin(self, *args, **options)
        made.append(self)

    monkeypatch.setattr(Host, "__init__", remember)
    yield
    for host in made:
        host.close()
