"""`modkit check MOD`: what can be said of a mod without running it.

The manifest is read as the host reads it, and every script is parsed: signatures of the hooks, events that
nobody emits, work at the top level, calls that stop the frame, coroutines that nobody awaits, imports that the
permissions do not mention. An error is something that fails or stops the game; a warning may be meant.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from modkit.errors import ModError
from modkit.host.events import LIFECYCLE
from modkit.host.folder import Folder
from modkit.host.loading import find_mods, prepare_manifest
from modkit.host.manifest import Manifest

__all__ = ["Finding", "check_mod"]

_NEEDS = {
    **dict.fromkeys(("socket", "ssl", "http", "urllib", "requests", "httpx", "aiohttp", "ftplib"), "network"),
    **dict.fromkeys(("subprocess", "multiprocessing", "pty"), "process"),
    **dict.fromkeys(("threading", "_thread", "concurrent"), "threads"),
    **dict.fromkeys(("ctypes", "cffi", "_ctypes"), "native"),
}
_WAITS = ("seconds", "frames", "event")
_HOOKS = {
    "on": (2, "(mod, event)"),
    "every": (1, "(mod)"),
    "save": (1, "(mod)"),
    "restore": (3, "(mod, state, version)"),
}
_REGISTERS = ("setdefault", "append", "add", "update", "register", "insert", "simplefilter")
_SLOW = {
    "open", "input", "sleep", "time.sleep", "modkit.Engine", "Engine", "NPC", "modkit.NPC", "Persona.open", "urlopen",
    "urllib.request.urlopen", "requests.get", "requests.post", "subprocess.run", "subprocess.Popen",
}  # fmt: skip


@dataclass(frozen=True, order=True)
class Finding:
    """One thing about a mod: `file` and `line` (0: the file as a whole), and one sentence. `error`: it will fail."""

    file: str
    line: int
    error: bool
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {'error' if self.error else 'warning'}: {self.text}"


def check_mod(source: str | Path, events: Collection[str] | None = None) -> list[Finding]:
    """What is wrong with the mod in this folder or zip, by file and line; empty when nothing is.

    `events` are those that the game emits; when they are given, a handler of any other is an error. The mods
    beside it are read for the events that they emit. Nothing of the mod runs.
    """
    source = Path(source)
    try:
        folder, manifest = prepare_manifest(source)
    except ModError as error:
        return [Finding("mod.toml", 0, True, str(error))]
    try:
        return sorted(set(_check(folder, manifest, source, events)))
    finally:
        folder.close()


def _check(folder: Folder, manifest: Manifest, source: Path, events: Collection[str] | None) -> Iterator[Finding]:
    trees: dict[str, ast.Module] = {}
    for path in sorted(folder.root.rglob("*.py")):
        name = path.relative_to(folder.root).as_posix()
        if path.name.startswith("test_"):
            continue  # runs in the author's pytest, not in the game
        try:
            trees[name] = ast.parse(folder.read(name), name)
        except (SyntaxError, ValueError, RecursionError, ModError) as error:
            line = getattr(error, "lineno", 0) or 0
            yield Finding(name, line, True, f"does not compile: {getattr(error, 'msg', error)}")
    emitted = {name for tree in trees.values() for name, _ in _emits(tree)}
    known = emitted | set(events or ()) | _neighbours(source) | LIFECYCLE
    for name, tree in trees.items():
        yield from _File(name, manifest, known, strict=events is not None).check(tree)


def _neighbours(source: Path) -> set[str]:
    """The events that the mods in the same folder emit."""
    found: set[str] = set()
    try:
        beside = [path for path in find_mods(source.resolve().parent) if path.is_dir()]
    except (ModError, OSError):
        return found
    for path in beside:
        if (path / "mod.toml").is_file():
            for script in path.rglob("*.py"):
                try:
                    found |= {name for name, _ in _emits(ast.parse(script.read_bytes()))}
                except (SyntaxError, ValueError, RecursionError, OSError):
                    continue  # that mod's own check tells
    return found


def _emits(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "emit":
            name = _text(node.args[0]) if node.args else None
            if name is not None:
                yield name, node.lineno


class _File:
    """The checks of one script."""

    def __init__(self, name: str, manifest: Manifest, known: set[str], *, strict: bool) -> None:
        self._name = name
        self._manifest = manifest
        self._known = known
        self._strict = strict
        self._coroutines: set[str] = set()

    def check(self, tree: ast.Module) -> Iterator[Finding]:
        self._coroutines = {node.name for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef)}
        yield from self._top_level(tree.body)
        for name, line in _emits(tree):
            if name in LIFECYCLE:
                yield self._error(line, f"only the host emits {name!r}; take another name")
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield from self._import(node)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from self._function(node)
            elif isinstance(node, ast.Call):
                yield from self._call(node)
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                yield from self._thrown_away(node.value)
            elif isinstance(node, ast.While):
                yield from self._loop(node, tree)
        if self._manifest.run == "worker":
            yield from self._far(tree)

    def _error(self, line: int, text: str) -> Finding:
        return Finding(self._name, line, True, text)

    def _warning(self, line: int, text: str) -> Finding:
        return Finding(self._name, line, False, text)

    def _top_level(self, body: list[ast.stmt]) -> Iterator[Finding]:
        fix = 'the top level only registers; do it in @on("ready")'
        for node in body:
            if isinstance(node, ast.If | ast.Try):
                yield from self._top_level([*node.body, *node.orelse])
            elif isinstance(node, ast.While | ast.For | ast.With):
                kind = {ast.While: "a loop", ast.For: "a loop", ast.With: "a with block"}[type(node)]
                yield self._error(node.lineno, f"{kind} at the top level: {fix}")
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                called = _called(node.value)
                if called not in _REGISTERS:
                    yield self._error(node.lineno, f"{called}() is called at the top level: {fix}")
            elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                for call in [n for n in ast.walk(node.value) if isinstance(n, ast.Call)]:
                    if ast.unparse(call.func) in _SLOW:
                        yield self._error(node.lineno, f"{ast.unparse(call.func)}() is called at the top level: {fix}")

    def _import(self, node: ast.Import | ast.ImportFrom) -> Iterator[Finding]:
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""] if node.level == 0 else []
        else:
            names = [alias.name for alias in node.names]
        for name in names:
            root = name.partition(".")[0]
            if root == "asyncio":
                yield self._error(node.lineno, "asyncio has no loop here; await seconds(), event() or a reply")
            permission = _NEEDS.get(root)
            if permission is not None and permission not in self._manifest.permissions:
                yield self._error(
                    node.lineno, f'imports {root}; mod.toml has to say permissions = ["{permission}"], or do without'
                )

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[Finding]:
        for decorator in node.decorator_list:
            call = decorator if isinstance(decorator, ast.Call) else None
            target = call.func if call else decorator
            hook = target.id if isinstance(target, ast.Name) else ""
            if hook not in _HOOKS:
                continue
            count, shape = _HOOKS[hook]
            if not _takes(node.args, count):
                called = f"{node.name}() is called as {node.name}{shape}"
                yield self._error(node.lineno, f"{called}; give it {count} argument{'s' * (count > 1)}")
            event = _text(call.args[0]) if call and call.args else None
            if isinstance(node, ast.AsyncFunctionDef) and (hook in ("save", "restore") or event == "unload"):
                yield self._error(node.lineno, f"{node.name}() cannot be async: nothing goes on after @{event or hook}")
            if hook == "on" and event is not None:
                yield from self._event(event, node.lineno)

    def _event(self, event: str, line: int) -> Iterator[Finding]:
        if event in self._known:
            return
        near = difflib.get_close_matches(event, self._known, 1, 0.8)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        if self._strict:
            yield self._error(line, f"nobody emits {event!r}{hint or '; take one that the game or a mod emits'}")
        elif near:
            yield self._warning(line, f"no mod emits {event!r}, so the game has to{hint}")

    def _call(self, node: ast.Call) -> Iterator[Finding]:
        called = _called(node)
        whole = ast.unparse(node.func)
        if whole in ("time.sleep", "sleep"):
            yield self._error(node.lineno, "time.sleep() stops the game; await seconds() in an async function")
        elif called == "result" and isinstance(node.func, ast.Attribute):
            yield self._warning(node.lineno, ".result() of a reply waits and stops the game; await the reply")
        elif whole == "open":
            yield self._warning(node.lineno, "open() looks in the game's folder; mod.open() in the mod's")
        elif whole == "print":
            yield self._warning(node.lineno, "a game has no console for print(); use mod.log.info()")
        elif whole in ("exec", "eval", "compile", "__import__"):
            yield self._warning(node.lineno, f"{whole}() compiles inside the frame, which costs milliseconds")
        elif whole == "event" or (called == "on" and isinstance(node.func, ast.Attribute)):
            name = _text(node.args[0]) if node.args else None
            if name is not None:
                yield from self._event(name, node.lineno)

    def _thrown_away(self, call: ast.Call) -> Iterator[Finding]:
        name = call.func.id if isinstance(call.func, ast.Name) else ""
        if name in _WAITS:
            yield self._error(call.lineno, f"{name}() does nothing until it is awaited: await {name}(…)")
        elif name in self._coroutines:
            yield self._error(call.lineno, f"{name}() is async and never awaited: await it, or mod.spawn({name}(…))")
        elif isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value).startswith("mod.storage["):
            yield self._warning(call.lineno, "this changes a copy; assign it to mod.storage again")

    def _far(self, tree: ast.Module) -> Iterator[Finding]:
        """What a mod in a process of its own asks of NPCs, and cannot have there."""
        from modkit.host.worker_face import FarNPC

        assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign) and _is_npc(node.value)]
        names = {target.id for node in assigned for target in node.targets if isinstance(target, ast.Name)}
        there = {*dir(FarNPC), "actions", "id"}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute) or node.attr in there:
                continue
            if _is_npc(node.value) or (isinstance(node.value, ast.Name) and node.value.id in names):
                where = "is in the game's process, and this mod has one of its own"
                yield self._error(node.lineno, f"{node.attr} of an NPC {where}; let the game put it into an event")

    def _loop(self, node: ast.While, tree: ast.Module) -> Iterator[Finding]:
        endless = isinstance(node.test, ast.Constant) and bool(node.test.value)
        ways_out = (ast.Await, ast.AsyncFor, ast.Break, ast.Return, ast.Raise, ast.Yield)
        if endless and not any(isinstance(inner, ways_out) for part in node.body for inner in ast.walk(part)):
            yield self._error(node.lineno, "this loop never ends and never gives the frame back: await frames(1) in it")


def _takes(arguments: ast.arguments, count: int) -> bool:
    most = len(arguments.posonlyargs) + len(arguments.args)
    least = most - len(arguments.defaults)
    needed = [a for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if default is None]
    return not needed and least <= count and (count <= most or arguments.vararg is not None)


def _is_npc(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "npc"


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "something")


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
