"""In which order mods load and hear of events, and which of them cannot load, each in one sentence with the fix.

Dependencies come first; what they leave open is settled by id. `MODKIT_SHUFFLE=seed` settles it by chance
instead, the same for the same seed: a mod that only works by accident of its name is found before its players
find it.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Mapping

from modkit.errors import OptionError
from modkit.host.manifest import Manifest
from modkit.host.requires import satisfies

__all__ = ["missing", "resolve"]


def resolve(
    manifests: Mapping[str, Manifest], shuffle: str | None = None
) -> tuple[list[str], dict[str, str]]:
    """The ids in the order they load, and a sentence for each of the others.

    `shuffle` is a seed; None takes the environment's MODKIT_SHUFFLE, and "" does not shuffle.
    """
    seed = os.environ.get("MODKIT_SHUFFLE", "") if shuffle is None else shuffle
    if not isinstance(seed, str):
        raise OptionError(f"shuffle is a text, the seed, not {seed!r}.")
    left = dict(manifests)
    problems: dict[str, str] = {}
    while wrong := _unmet(left, problems):
        for ident, sentence in wrong.items():
            problems[ident] = sentence
            del left[ident]
    order, stuck = _sort(left, seed, optional=True)
    if stuck:  # a circle that only wishes close is opened by leaving the wishes out
        order, stuck = _sort(left, seed, optional=False)
    if not stuck:
        return order, problems
    for ident, sentence in _circles(stuck).items():
        problems[ident] = sentence
    rest, more = resolve({i: m for i, m in manifests.items() if i not in problems}, seed)
    return rest, {**more, **_blame(manifests, more, problems), **problems}


def missing(manifest: Manifest, present: Mapping[str, Manifest], gone: Mapping[str, str]) -> str | None:
    """What keeps the mod from loading among those `present`, as one sentence; None when nothing does."""
    who = f"Mod {manifest.id!r} did not load"
    for need in manifest.requires:
        other = present.get(need.id)
        if need.prefix == "!":
            if other is not None and satisfies(other.version, need.range):
                return f"{who}: it cannot be together with {need.id!r}; take one of them out."
        elif other is None:
            if need.needed and need.id in gone:
                return f"{who}: it needs {need.id!r}, which did not load either; mend that one first."
            if need.needed:
                wanted = f" {need.range}" if need.range else ""
                return f"{who}: it needs {need.id!r}{wanted}, which is not there; put it into the mods folder."
        elif not satisfies(other.version, need.range):
            return (
                f"{who}: it needs {need.id!r} {need.range}, and {other.version} is there; "
                f"put another version of {need.id!r} into the mods folder."
            )
    return None


def _unmet(left: Mapping[str, Manifest], gone: Mapping[str, str]) -> dict[str, str]:
    """Who cannot stay. Conflicts come last and one by one: the other may have fallen by itself."""
    found = {ident: missing(manifest, left, gone) for ident, manifest in sorted(left.items())}
    wrong = {ident: sentence for ident, sentence in found.items() if sentence is not None}
    others = {ident: sentence for ident, sentence in wrong.items() if "cannot be together" not in sentence}
    return others or dict(list(wrong.items())[:1])


def _blame(
    manifests: Mapping[str, Manifest], more: Mapping[str, str], problems: Mapping[str, str]
) -> dict[str, str]:
    """Of those that fell with others: what they need is there, and did not load."""
    gone = {**more, **problems}
    present = {ident: manifest for ident, manifest in manifests.items() if ident not in gone}
    return {ident: missing(manifests[ident], present, gone) or more[ident] for ident in more}


def _sort(left: Mapping[str, Manifest], seed: str, *, optional: bool) -> tuple[list[str], dict[str, list[str]]]:
    """Kahn's algorithm with the smallest key first; also what is stuck, with what each waits for."""
    waits = {
        ident: [n.id for n in manifest.requires if n.orders and n.id in left and (optional or n.needed)]
        for ident, manifest in left.items()
    }
    behind: dict[str, list[str]] = {ident: [] for ident in left}
    for ident, needs in waits.items():
        for need in needs:
            behind[need].append(ident)
    open_ = {ident: len(needs) for ident, needs in waits.items()}
    heap = [(_key(ident, seed), ident) for ident, count in open_.items() if count == 0]
    heapq.heapify(heap)
    order = []
    while heap:
        _, ident = heapq.heappop(heap)
        order.append(ident)
        for later in behind[ident]:
            open_[later] -= 1
            if open_[later] == 0:
                heapq.heappush(heap, (_key(later, seed), later))
    done = set(order)
    stuck = {ident: [n for n in needs if n not in done] for ident, needs in waits.items() if ident not in done}
    return order, stuck


def _key(ident: str, seed: str) -> str:
    if not seed:
        return ident
    import hashlib  # it brings OpenSSL along, 3.5 MB that a game without a seed need not have

    return hashlib.sha256(f"{seed}:{ident}".encode()).hexdigest()


def _circles(stuck: Mapping[str, list[str]]) -> dict[str, str]:
    """A sentence for each mod that waits for itself; one that only waits for such mods is not in a circle."""
    found: dict[str, str] = {}
    for start in sorted(stuck):
        if start in found:
            continue
        seen: list[str] = []
        ident = start
        while ident not in seen:
            seen.append(ident)
            ident = min(stuck[ident])
        circle = seen[seen.index(ident) :]
        way = " → ".join([*circle, circle[0]])
        for member in circle:
            found.setdefault(
                member,
                f"Mod {member!r} did not load: {way} need each other in a circle; "
                "take one requires out of it, or mark one with ~ (no order).",
            )
    return found
