"""Mods load in the order of their needs, and each that cannot load is named with the fix."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from modkit.errors import ModError, OptionError
from modkit.host import Host
from modkit.host.order import resolve
from modkit.host.requires import Requirement, satisfies

WriteMod = Callable[..., Path]


def mod(write_mod: WriteMod, ident: str, *requires: str, version: str = "1.0", more: str = "") -> None:
    needs = ", ".join(f'"{need}"' for need in requires)
    write_mod(ident, toml=f'id = "{ident}"\nversion = "{version}"\nrequires = [{needs}]\n{more}')


def order(mods: Path) -> list[str]:
    with Host(mods) as host:
        return [mod.id for mod in host.mods]


def problem(mods: Path, ident: str) -> str:
    with Host(mods) as host:
        return host.report[ident].problem or ""


def test_what_is_needed_comes_first_and_ids_decide_the_rest(write_mod: WriteMod, mods: Path) -> None:
    mod(write_mod, "a", "z")
    mod(write_mod, "b")
    mod(write_mod, "c", "? b", "~ y", "? nowhere")
    mod(write_mod, "y", "c")
    mod(write_mod, "z")
    assert order(mods) == ["b", "c", "y", "z", "a"]


def test_events_reach_mods_in_the_order_they_loaded(write_mod: WriteMod, mods: Path) -> None:
    for ident, need in (("a", "z"), ("z", "")):
        toml = f'id = "{ident}"\n' + (f'requires = ["{need}"]' if need else "")
        write_mod(ident, '@on("go")\ndef go(mod, event):\n    mod.emit("ran", by=mod.id)\n', toml=toml)
    host = Host(mods)
    heard: list[str] = []
    host.subscribe("ran", lambda event: heard.append(event.by))
    host.emit("go")
    host.tick(0.1)
    assert heard == ["z", "a"]


@pytest.mark.parametrize(
    ("need", "sentence"),
    [
        ("other", "needs 'other', which is not there; put it into the mods folder"),
        ("other >=2", "needs 'other' >=2, which is not there"),
        ("~ other", "needs 'other', which is not there"),
        ("base >=2", "needs 'base' >=2, and 1.5 is there; put another version"),
        ("? base <1", "needs 'base' <1, and 1.5 is there"),
        ("! base", "cannot be together with 'base'; take one of them out"),
        ("broken", "needs 'broken', which did not load either; mend that one first"),
        ("late", "needs 'late', which did not load either"),
        ("~ late", "needs 'late', which did not load either"),
    ],
)
def test_a_need_that_is_not_met_is_one_sentence_with_the_fix(
    write_mod: WriteMod, mods: Path, need: str, sentence: str
) -> None:
    mod(write_mod, "base", version="1.5")
    mod(write_mod, "broken", "nowhere")
    write_mod("late", "1 / 0")
    mod(write_mod, "asks", need)
    said = problem(mods, "asks")
    assert sentence in said and "\n" not in said
    assert order(mods) == ["base"]


@pytest.mark.parametrize("need", ["base", "base >=1.0,<2", "base = 1.5", "? base ~=1.4", "! base >=2", "? nowhere >=9"])
def test_a_need_that_is_met_loads(write_mod: WriteMod, mods: Path, need: str) -> None:
    mod(write_mod, "base", version="1.5")
    mod(write_mod, "asks", need)
    assert "asks" in order(mods)


def test_a_circle_is_shown_whole_and_whoever_depends_on_it_says_so(write_mod: WriteMod, mods: Path) -> None:
    mod(write_mod, "a", "b")
    mod(write_mod, "b", "c")
    mod(write_mod, "c", "a")
    mod(write_mod, "d", "a")
    mod(write_mod, "free")
    assert order(mods) == ["free"]
    for ident in "abc":
        assert "a → b → c → a need each other in a circle" in problem(mods, ident)
    assert "needs 'a', which did not load either" in problem(mods, "d")


def test_a_circle_of_wishes_is_opened(write_mod: WriteMod, mods: Path) -> None:
    mod(write_mod, "a", "? b")
    mod(write_mod, "b", "a")
    assert order(mods) == ["a", "b"]


def test_of_two_that_exclude_each_other_one_stays(write_mod: WriteMod, mods: Path) -> None:
    mod(write_mod, "a", "! b")
    mod(write_mod, "b", "! a")
    assert order(mods) == ["b"]


def test_a_mod_that_excludes_one_that_falls_anyway_loads(write_mod: WriteMod, mods: Path) -> None:
    mod(write_mod, "a", "! b")
    mod(write_mod, "b", "nowhere")
    assert order(mods) == ["a"]


def test_the_shuffle_keeps_what_is_needed_and_is_the_same_for_a_seed(
    write_mod: WriteMod, mods: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(8):
        mod(write_mod, f"m{n}", *(["m7"] if n == 0 else []))
    seen = set()
    for seed in ("1", "2", "3", "1"):
        monkeypatch.setenv("MODKIT_SHUFFLE", seed)
        found = order(mods)
        assert sorted(found) == [f"m{n}" for n in range(8)] and found.index("m7") < found.index("m0")
        seen.add(tuple(found))
    assert len(seen) == 3


def test_any_graph_is_ordered_or_explained(write_mod: WriteMod) -> None:
    from modkit.host.manifest import Manifest

    rng = random.Random(7)
    for _ in range(300):
        ids = [f"m{n}" for n in range(rng.randrange(1, 9))]
        manifests = {}
        for ident in ids:
            others = [o for o in [*ids, "nowhere"] if o != ident]
            needs = tuple(
                Requirement(rng.choice(["", "", "?", "!", "~"]), other, rng.choice(["", ">=1", ">=2"]))
                for other in rng.sample(others, min(len(others), rng.randrange(3)))
            )
            manifests[ident] = Manifest(ident, ident, rng.choice(["1", "2"]), requires=needs)
        found, problems = resolve(manifests, "")
        assert sorted([*found, *problems]) == sorted(ids)
        for place, ident in enumerate(found):
            for need in manifests[ident].requires:
                there = need.id in found
                fits = there and satisfies(manifests[need.id].version, need.range)
                assert (not need.needed or fits) and not (need.prefix == "!" and fits)
                if need.prefix == "" and there:
                    assert found.index(need.id) < place
        assert all(sentence.startswith(f"Mod {ident!r} did not load") for ident, sentence in problems.items())


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('requires = ["Not An Id"]', "write it as 'other_mod >=1.0'"),
        ('requires = ["a >>1"]', "is no version range"),
        ('requires = "a"', "must be a list of texts"),
        ("requires = [3]", "write it as"),
        ('requires = ["x"]', "requires itself"),
        ('requires = ["a", "? a"]', "'a' twice"),
        ('version = "newest"', "cannot be compared"),
        ('modkit = ">=99"', "is for modkit >=99"),
        ('modkit = "new"', "is no version range"),
        ('authors = "me"', 'as in authors = ["one"]'),
        ('run = "thread"', '"frame" or "worker"'),
        ('permissions = ["root"]', "no permission 'root'"),
        ("settings = 3", "must be tables"),
        ("settings.a = 3", "must be a table [settings.a]"),
        ('settings.a = {type = "colour", default = 1}', "has type 'colour'"),
        ('settings.a = {type = "int"}', "has no default"),
        ('settings.a = {type = "int", default = "1"}', "it is a whole number"),
        ('settings.a = {type = "int", default = true}', "it is a whole number"),
        ('settings.a = {type = "float", default = nan}', "it is a number"),
        ('settings.a = {type = "int", default = 9, max = 8}', "up to 8"),
        ('settings.a = {type = "text", default = "c", choices = ["a", "b"]}', "one of 'a', 'b'"),
        ('settings.a = {type = "int", default = 1, scope = "world"}', "has scope 'world'"),
        ('settings.a = {type = "int", default = 1, min = "0"}', "must be a number"),
    ],
)
def test_a_manifest_that_is_wrong_says_what_to_change(
    write_mod: WriteMod, mods: Path, line: str, sentence: str
) -> None:
    write_mod("x", toml=f'id = "x"\n{line}\n')
    assert sentence in problem(mods, "x")


def test_a_shuffle_that_is_no_seed_is_refused() -> None:
    with pytest.raises(OptionError):
        resolve({}, 3)  # type: ignore[arg-type]


def test_a_mod_loaded_later_finds_what_it_needs_or_says_what_is_missing(write_mod: WriteMod, mods: Path) -> None:
    mod(write_mod, "base", version="1.5")
    folder = mods.parent / "elsewhere"
    folder.mkdir()
    host = Host(mods)
    mod(write_mod, "asks", "base >=2")
    with pytest.raises(ModError, match="1.5 is there"):
        host.load(mods / "asks")
    mod(write_mod, "asks", "base >=1")
    host.load(mods / "asks")
    assert [one.id for one in host.mods] == ["base", "asks"]


def test_no_manifest_however_damaged_raises_anything_but_a_sentence(write_mod: WriteMod, mods: Path) -> None:
    whole = (
        b'id = "x"\nname = "X"\nversion = "1.2"\nauthors = ["a"]\nmodkit = ">=0.1"\nrequires = ["? a >=1", "~ b"]\n'
        b'permissions = ["files"]\n[settings.volume]\ntype = "int"\ndefault = 3\nmin = 0\nmax = 9\nchoices = [3, 4]\n'
    )
    rng = random.Random(11)
    folder = write_mod("x")
    loaded = 0
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(rng.randrange(1, 6)):
            place = rng.randrange(len(damaged))
            kind = rng.randrange(3)
            if kind == 0:
                damaged[place] = rng.randrange(256)
            elif kind == 1:
                del damaged[place : place + rng.randrange(1, 20)]
            else:
                damaged[place:place] = rng.choice((b"[", b'"', b"\x00", b"= 1e999", b"\n[a.b]\n", b"{}", b"\xff"))
        (folder / "mod.toml").write_bytes(damaged)
        with Host(mods) as host:
            loaded += len(host.mods)
            assert all(report.problem for report in host.report.values() if report.state == "refused")
    assert 0 < loaded < 400
