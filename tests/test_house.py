"""The layout that docs/design.md promises: one-way imports, honest doors, nothing that dies at a stop."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent / "modkit"
ORDER = ["lazy", "errors", "native", "engine", "persona", "ipc", "host", "testing", "cli", "__main__"]
MODULES = sorted(p for p in ROOT.rglob("*.py") if p.name not in ("_build.py", "_llama.py"))


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "modkit"


def imports(path: Path) -> list[tuple[str, bool]]:
    """(module, only for type checking) for every modkit import in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found += [(name, id(node) in typing_only) for name in names if name.split(".")[0] == "modkit"]
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_imports_only_from_rooms_above_it(path: Path) -> None:
    parts = path.relative_to(ROOT).with_suffix("").parts
    here = parts[0]
    if here == "__init__":
        return  # the front door shows what is inside, lazily
    # host/play.py is a command: it puts an engine, personas and mods together
    for module, typing_only in imports(path):
        room = room_of(module)
        if room in ("modkit", here) or typing_only:
            continue
        assert ORDER.index(room) < ORDER.index(here), f"{here} must not import {module}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_says_what_lives_in_it(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "a module needs a docstring"
    printed = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "print"]
    assert not printed, "the library logs, it does not print"


@pytest.mark.parametrize("names", ["Engine", "Engine, Host, NPC, Persona"])
def test_a_game_loads_only_what_it_plays_with(names: str) -> None:
    """Each of these costs a game megabytes or milliseconds, and is for tools or for one way of use."""
    heavy = ["_hashlib", "asyncio", "multiprocessing", "numpy", "socket", "ssl", "subprocess", "tarfile", "xllamacpp"]
    heavy += ["modkit.native.grammar", "modkit.persona.building", "modkit.persona.readers", "modkit.persona.voice"]
    heavy += ["shutil", "tempfile", "zipfile"]
    code = f"import sys; from modkit import {names}; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "name", ["modkit", "modkit.engine", "modkit.errors", "modkit.ipc", "modkit.native", "modkit.persona"]
)
def test_a_door_shows_what_it_says(name: str) -> None:
    module = importlib.import_module(name)
    assert sorted(module.__all__) == sorted(set(module.__all__))
    files = {path.stem for path in Path(str(module.__file__)).parent.glob("*.py")}
    for public in module.__all__:
        value = getattr(module, public)
        assert value is not None
        assert isinstance(value, ModuleType) or public not in files, "once imported, the module would hide the name"


def test_the_error_tree_in_the_docstring_is_the_tree() -> None:
    from modkit import errors

    drawn = [line for line in (errors.__doc__ or "").splitlines() if line and line[0] in "├│└M"]
    names = {line.replace("│", " ").replace("├─", " ").replace("└─", " ").split()[0] for line in drawn}
    assert names >= set(errors.__all__)


@pytest.mark.parametrize(
    "door",
    ["modkit", "modkit.engine", "modkit.host", "modkit.native", "modkit.persona", "modkit.persona.cards",
     "modkit.persona.readers", "modkit.persona.voice", "modkit.testing"],
)  # fmt: skip
def test_every_public_name_says_what_it_is(door: str) -> None:
    module = importlib.import_module(door)
    silent = []
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) and value.__module__.startswith("modkit"):
            own = value.__doc__ and not value.__doc__.startswith(f"{name}(")  # a dataclass writes its signature there
            silent += [] if own else [name]
            silent += [f"{name}.{one}" for one in dir(value) if one[0] != "_" and not told(value, one)]
        elif inspect.isfunction(value) and not value.__doc__:
            silent.append(name)
    assert silent == []


def told(kind: type, name: str) -> bool:
    """Whether a method or property of ours has a docstring; one that a class overrides may leave it to that class."""
    value = inspect.getattr_static(kind, name)
    function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    if not inspect.isfunction(function) or not function.__module__.startswith("modkit"):
        return True
    return any(getattr(inspect.getattr_static(one, name, None), "__doc__", None) for one in kind.__mro__)
