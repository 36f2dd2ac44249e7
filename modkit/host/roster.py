"""Which mods there are: loading in order, unloading, and exchanging one for its next version between two frames.

All of it on the host's thread, between calls into mods or in the frame's first moments; reading and compiling for
a reload is done on another, and what it made waits in `_arrived`.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from modkit.errors import ModError, ModkitError, OptionError
from modkit.host.events import Event
from modkit.host.guard import FAILED
from modkit.host.loading import Prepared, compile_mod, find_mods, load_script, prepare, prepare_manifest
from modkit.host.mod import Mod
from modkit.host.order import missing, resolve
from modkit.host.policy import describe
from modkit.host.report import REFUSED, UNLOADED, Account, ModReport
from modkit.host.settings import Settings
from modkit.host.storage import pack

if TYPE_CHECKING:
    from modkit.host.folder import Folder
    from modkit.host.host import Host
    from modkit.host.manifest import Manifest
    from modkit.host.scripts import Script
    from modkit.host.worker_mods import Worker

__all__ = ["Roster"]

_log = logging.getLogger("modkit.host")
_LOOP = 5  # reloads asked for by mods within
_LOOP_FRAMES = 600  # that are borne


class Roster:
    """The mods of one host, in `mods` by id. `settings` are the game's values, `grants` the permissions it gives
    (None: all)."""

    def __init__(
        self, host: Host, settings: Mapping[str, Mapping[str, Any]] | None, grants: frozenset[str] | None
    ) -> None:
        self.mods: dict[str, Mod] = {}
        self.gone: dict[str, ModReport] = {}
        self.unready: list[Mod] = []
        self.sources: dict[str, Path] = {}
        self._host = host
        self._given = settings or {}
        self._grants = grants
        self._scripts: dict[str, Script | Worker] = {}
        self._asked: dict[str, list[int]] = {}
        self._arrived: deque[tuple[str, Prepared | ModError]] = deque()

    # ---- loading ----

    def load_all(self, mods_dir: Path) -> None:
        """Load what is in the folder, in order; what does not load is in `gone`, and the others load."""
        found: dict[str, tuple[Folder, Manifest]] = {}
        twins: list[tuple[Path, str, ModError]] = []
        for source in find_mods(mods_dir):
            try:
                folder, manifest = prepare_manifest(source)
            except ModError as error:
                self._refuse(source.stem, source, "0", error)
                continue
            other = found.get(manifest.id)
            if other is not None:
                twins.append((source, manifest.version, _twin(manifest.id, source, other[0].source)))
                folder.close()
            else:
                found[manifest.id] = folder, manifest
        order, problems = resolve({ident: manifest for ident, (_, manifest) in found.items()})
        for ident, sentence in problems.items():
            self._refuse(ident, found[ident][0].source, found[ident][1].version, ModError(sentence))
            found[ident][0].close()
        for ident in order:
            self._load_found(*found[ident])
        self._let_down()
        for source, version, problem in twins:
            self._refuse(source.stem, source, version, problem)
        self._rank()

    def load(self, source: Path) -> Mod:
        """Load one mod; raises `ModError` with the fix, and then others are not touched."""
        prepared = prepare(source)
        try:
            other = self.mods.get(prepared.manifest.id)
            if other is not None:
                raise _twin(prepared.manifest.id, prepared.folder.source, other._files.source)
            if not self._host._in_worker:  # there its neighbours are in the game's process, and were looked at
                self._check_neighbours(prepared.manifest)
            mod = self._begin(prepared)
        except BaseException:
            prepared.folder.close()
            raise
        self._rank()
        return mod

    def _load_found(self, folder: Folder, manifest: Manifest) -> None:
        try:
            needed = [need.id for need in manifest.requires if need.needed and need.id in self.gone]
            if needed:
                raise ModError(
                    f"Mod {manifest.id!r} did not load: it needs {needed[0]!r}, which did not load either; "
                    "mend that one first."
                )
            self._begin(Prepared(folder, manifest, compile_mod(folder, manifest)))
        except ModError as error:
            self._refuse(manifest.id, folder.source, manifest.version, error)
            folder.close()

    def _let_down(self) -> None:
        """Take out who loaded before what it needs (with ~) failed."""
        while fallen := [
            mod for mod in self.mods.values() for need in mod.manifest.requires if need.needed and need.id in self.gone
        ]:
            for mod in dict.fromkeys(fallen):
                sentence = missing(mod.manifest, self._manifests(), self.gone_sentences())
                self.unload(mod.id, "unload")
                del self.gone[mod.id]
                self._refuse(mod.id, mod._files.source, mod.version, ModError(sentence or "it was let down"))

    def _begin(self, prepared: Prepared) -> Mod:
        """Make the mod, run its script, and give it back its state."""
        mod = self._make(prepared)
        script = self._script(mod, prepared)
        try:
            self._run(mod, script)
            self._host._cast.look_in(prepared.folder, mod.id)
            state = self._host._saves.state(mod.id)
            if state is not None:
                self._restore(mod, *state)
        except ModkitError as error:
            self._drop(mod, script, None)
            raise error if isinstance(error, ModError) else _refusal(mod, error) from error
        self._enter(mod, script)
        return mod

    def _make(self, prepared: Prepared) -> Mod:
        manifest = prepared.manifest
        for permission in manifest.permissions:
            if self._grants is not None and permission not in self._grants:
                raise ModError(
                    f"Mod {manifest.id!r} did not load: it asks for the permission {permission!r}, which this game "
                    "does not give; play without the mod, or let the game grant it."
                )
        saves = self._host._saves
        given = dict(self._given.get(manifest.id, {}))
        kept = saves.settings(manifest.id)
        given.update({name: kept[name] for name, s in manifest.settings.items() if s.scope == "save" and name in kept})
        settings = Settings(manifest.settings, given)
        mod = Mod(self._host, manifest, prepared.folder, saves.storage(manifest.id), settings)
        if settings.problems:
            mod.account.notice = " ".join(settings.problems)
        return mod

    def _script(self, mod: Mod, prepared: Prepared) -> Script | Worker:
        """What runs the mod's code: a package here, or a process."""
        if prepared.manifest.run == "worker" and not self._host._in_worker:
            return self._host._worker_pool().make(mod)
        return prepared.script()

    def _run(self, mod: Mod, script: Script | Worker) -> None:
        if script.far:
            script.load()  # starts a process, which loads it in its own time
            return
        guard = self._host._guard
        outer, guard.running = guard.running, (mod, mod._origin("the top level"))  # for the watchdog
        try:
            load_script(mod, cast("Script", script))
        finally:
            guard.running = outer

    def _restore(self, mod: Mod, state: Any, version: str) -> None:
        hook = mod._hooks.get("restore")
        if hook is None:
            return
        origin = mod._origin("@restore")
        if self._host._guard.call(mod, origin, hook, mod, state, version) is FAILED:
            last = (mod.account.last_error or "").strip().rpartition("\n")[2]
            raise ModError(
                f"Mod {mod.id!r} did not load: its @restore failed on what version {version} kept: {last}; correct it."
            )

    def _enter(self, mod: Mod, script: Script | Worker) -> None:
        self.gone.pop(mod.id, None)
        self.mods[mod.id] = mod
        self.sources[mod.id] = mod._files.source
        self._scripts[mod.id] = script
        self.unready.append(mod)

    def _check_neighbours(self, manifest: Manifest) -> None:
        present = {ident: other for ident, other in self._manifests().items() if ident != manifest.id}
        sentence = missing(manifest, present, self.gone_sentences())
        if sentence is not None:
            raise ModError(sentence)
        for other in present.values():
            for need in other.requires:
                if need.id == manifest.id and (lacking := missing(other, {**present, manifest.id: manifest}, {})):
                    raise ModError(lacking.replace("did not load", "is loaded"))

    def _manifests(self) -> dict[str, Manifest]:
        return {ident: mod.manifest for ident, mod in self.mods.items()}

    def gone_sentences(self) -> dict[str, str]:
        """Why those that are not loaded are not."""
        return {ident: report.problem or "" for ident, report in self.gone.items()}

    def _rank(self) -> None:
        """One order, for loading and for events."""
        order, _ = resolve(self._manifests())
        for rank, ident in enumerate([*order, *sorted(set(self.mods) - set(order))]):
            self.mods[ident].rank = rank
        self._host._dispatch.index.reorder()

    def _refuse(self, ident: str, source: Path, version: str, error: ModError) -> None:
        taken = {*self.mods, *self.gone}
        name = next((n for n in (ident, source.name) if n not in taken), str(source))
        account = Account(REFUSED, str(error))
        account.failures = 1
        account.last_error = describe(error.__cause__) if error.__cause__ else None
        self.gone[name] = ModReport.of(name, source, version, account)
        self.sources.setdefault(name, source)
        _log.error("%s", error)

    # ---- unloading ----

    def unload(self, ident: str, reason: str) -> None:
        """The mod's state is kept, its "unload" handlers run, and everything it owns goes."""
        mod = self.get(ident)
        self.keep_state(mod)
        self._farewell(mod, reason)
        del self.mods[ident]
        self._drop(mod, self._scripts.pop(ident), mod._files)
        self._host._cast.leave(ident)
        self.gone[ident] = report_of(mod)

    def keep_state(self, mod: Mod) -> Any:
        """Ask the mod's `@save`, and keep what it returns; None when there is nothing."""
        worker = self.worker(mod.id)
        if worker is not None:
            worker.save()
            return None
        hook = mod._hooks.get("save")
        if hook is None or not mod.account.runs:
            return None
        origin = mod._origin("@save")
        state = self._host._guard.call(mod, origin, hook, mod)
        if state is FAILED:
            return None
        try:
            data = pack(state, f"what @save of mod {mod.id!r} returned")
        except ModError as error:
            mod._failed(origin, error)
            return None
        self._host._saves.keep_state(mod.id, pack([mod.version, data], "state"))
        return data

    def _farewell(self, mod: Mod, reason: str) -> None:
        worker = self.worker(mod.id)
        if worker is not None:
            worker.leave(reason)  # its process ends by itself, or at its limit
            return
        self._host._dispatch.tell(mod, Event("unload", {"reason": reason}))

    def _drop(self, mod: Mod, script: Script | Worker, folder: Folder | None) -> None:
        mod._drop_all()
        mod.account.enter(UNLOADED)
        if not (script.far and cast("Worker", script).leaving):
            script.close()
        if mod in self.unready:
            self.unready.remove(mod)
        if folder is not None:
            folder.close()

    # ---- reloading ----

    def prepare(self, ident: str, source: Path) -> None:
        """Read and compile the mod's next version; on any thread. What comes of it is exchanged by `exchange`."""
        try:
            self._arrived.append((ident, prepare(source)))
        except ModError as error:
            self._arrived.append((ident, error))
        except Exception as error:
            self._arrived.append((ident, ModError(f"{source} cannot be read: {error}; look at its files.")))

    def check_loop(self, ident: str, frame: int) -> None:
        """A reload was asked for inside a frame, by a mod: a few are a wish, many are a loop. Raises `ModError`."""
        asked = [then for then in self._asked.get(ident, ()) if frame - then < _LOOP_FRAMES]
        self._asked[ident] = [*asked, frame]
        if len(asked) >= _LOOP:
            why = f"it was reloaded from inside the frame {len(asked)} times in {_LOOP_FRAMES} frames; let it load once"
            if ident in self.mods and self.mods[ident].account.runs:
                self._host._policy.suspend(self.mods[ident], why)
            raise ModError(f"Mod {ident!r} is not reloaded: {why}.")

    def exchange(self) -> None:
        """Between two frames: put the versions that have arrived in the place of the old ones."""
        while self._arrived:
            ident, prepared = self._arrived.popleft()
            old = self.mods.get(ident)
            if old is None:
                self._load_late(ident, prepared)
            elif isinstance(prepared, ModError):
                self._stay(old, prepared)
            else:
                self._exchange(old, prepared)

    def _exchange(self, old: Mod, prepared: Prepared) -> None:
        mod: Mod | None = None
        script: Script | Worker | None = None
        try:
            if prepared.manifest.id != old.id:
                raise ModError(f"its id is {prepared.manifest.id!r} now; load it as another mod")
            self._check_neighbours(prepared.manifest)
            self.keep_state(old)
            state = self._host._saves.state(old.id)
            mod = self._make(prepared)
            mod.rank = old.rank
            script = self._script(mod, prepared)
            if script.far:
                cast("Worker", script).follow(self.worker(old.id))
            with old._storage._or_back():
                self._run(mod, script)
                if state is not None:
                    self._restore(mod, *state)
        except ModError as error:
            if mod is not None and script is not None:
                self._drop(mod, script, None)
            prepared.folder.close()
            self._stay(old, error)
            return
        self._farewell(old, "reload")
        reloads = old.account.reloads + 1
        self._drop(old, self._scripts.pop(old.id), old._files)
        mod.account.reloads = reloads
        self._enter(mod, script)
        self._host._cast.look_in(prepared.folder, mod.id)
        self._rank()
        mod.log.info("Mod %r was reloaded, now version %s.", mod.id, mod.version)

    def _stay(self, old: Mod, error: ModError) -> None:
        old.account.notice = f"The new version of mod {old.id!r} was not taken, the old one goes on: {error}"
        old.log.error("%s", old.account.notice)

    def _load_late(self, ident: str, prepared: Prepared | ModError) -> None:
        """A mod that was refused before is tried again."""
        source = self.sources.get(ident, Path(ident))
        try:
            if isinstance(prepared, ModError):
                raise prepared
            with contextlib.ExitStack() as undo:
                undo.callback(prepared.folder.close)
                self._check_neighbours(prepared.manifest)
                if prepared.manifest.id in self.mods:
                    other = self.mods[prepared.manifest.id]
                    raise _twin(prepared.manifest.id, prepared.folder.source, other._files.source)
                self._begin(prepared)
                undo.pop_all()
            self.gone.pop(ident, None)
            self._rank()
        except ModError as error:
            self.gone.pop(ident, None)
            self._refuse(ident, source, "0", error)

    # ---- asking ----

    def get(self, ident: str) -> Mod:
        """The loaded mod of that id; raises `ModError`."""
        try:
            return self.mods[ident]
        except KeyError:
            known = ", ".join(sorted(self.mods)) or "none"
            raise ModError(f"No mod with the id {ident!r} is loaded; loaded: {known}.") from None

    def worker(self, ident: str) -> Worker | None:
        """The process of the mod, if it runs in one."""
        script = self._scripts.get(ident)
        return cast("Worker", script) if script is not None and script.far else None

    def package(self, ident: str) -> str:
        """The name of the mod's package in `sys.modules`."""
        return self._scripts[self.get(ident).id].name

    def set(self, ident: str, name: str, value: Any) -> tuple[Mod, Any]:
        """Change a setting; returns the mod and the value before. Raises `ModError`, `OptionError`."""
        mod = self.get(ident)
        setting = mod.manifest.settings.get(name)
        if setting is not None and setting.scope == "startup":
            raise OptionError(f"The setting {name!r} of mod {ident!r} is read at startup; give it to the host then.")
        before = mod.settings._change(name, value)
        if setting is not None and setting.scope == "save":
            kept = {n: mod.settings[n] for n, s in mod.manifest.settings.items() if s.scope == "save"}
            self._host._saves.keep_settings(ident, pack(kept, "settings"))
        worker = self.worker(ident)
        if worker is not None:
            worker.set(name, mod.settings[name])
        return mod, before

    def close_scripts(self) -> None:
        """Only take the mods out of the import system, for a host that was forgotten."""
        for script in self._scripts.values():
            script.close()


def report_of(mod: Mod) -> ModReport:
    """The mod's figures now."""
    return ModReport.of(mod.id, mod._files.source, mod.version, mod.account)


def _twin(ident: str, source: Path, other: Path) -> ModError:
    return ModError(f"{source} has the id {ident!r}, which {other} has already; give one of them another.")


def _refusal(mod: Mod, error: ModkitError) -> ModError:
    return ModError(f"Mod {mod.id!r} did not load: {error}")
