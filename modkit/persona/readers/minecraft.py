"""Minecraft language files: flat JSON, and `key=text` in the old `.lang` files.

A role at the beginning of a key (`villager.`, `librarian.`, `spouse.`) speaks its text; the names of
blocks, items and buttons are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from modkit.errors import DumpError
from modkit.persona.lines import Line
from modkit.persona.readers.documents import parse_json
from modkit.persona.readers.registry import Join, reader
from modkit.persona.readers.source import DumpFile

_FILE = re.compile(r"[a-z]{2,3}_[a-z]{2,4}\Z", re.IGNORECASE)
_PAIRS = re.compile(r'"[\w-]+(?:\.[\w/:#-]+)+"\s*:\s*"')
_OLD_PAIR = re.compile(r"([\w-]+(?:\.[\w/:#-]+)+)=(.*)$")
_SIGNS = re.compile(r"\u00a7[0-9a-fk-or]|%\d\$s|\"(?:block|item|entity|itemGroup)\.")
_COLOUR = re.compile(r"(?:\u00a7|\\u00a7)[0-9a-fk-orA-FK-OR]")

# The first word of keys that name things of the game and are said by nobody.
_THINGS = """
block item entity itemgroup creativetab tile gui key keybind container tooltip config option options menu stat stats
enchantment effect potion biome structure death advancement advancements achievement commands command argument parsing
subtitle subtitles sound sounds attribute material jei emi rei curios trim_material trim_pattern painting tag fluid
gamerule screen button title narrator controls selectworld multiplayer resourcepack soundcategory language filled_map
color lanserver spectatormenu debug telemetry demo mco createworld generator connect disconnect jukebox_song upgrade
""".split()  # noqa: SIM905
_ROLES = """
villager spouse husband wife child baby toddler teen adult parent father mother son daughter guard archer librarian
farmer fisherman shepherd fletcher cleric priest armorer weaponsmith toolsmith smith butcher leatherworker mason
cartographer nitwit baker miner warrior bandit jeweler adventurer mercenary innkeeper trader wandering_trader outlaw
cultist pillager king queen knight merchant
""".split()  # noqa: SIM905


_NOT_SAID = frozenset(_THINGS) | {"description", "desc", "lore", "info", "name", "tutorial", "category"}


def _sniff(file: DumpFile) -> float:
    named = _FILE.match(file.path.stem) is not None
    head = file.head
    if file.suffix == ".lang":
        return 0.8 if any(_OLD_PAIR.match(line) for line in head.splitlines()[:50]) else 0.0
    if not head.lstrip().startswith("{") or len(_PAIRS.findall(head[:8000])) < 2:
        return 0.0
    if named and '": {' not in head and '":{' not in head and '": [' not in head:
        return 0.9 if file.path.parent.name.casefold() == "lang" or _SIGNS.search(head) else 0.7
    return 0.0


def _pairs(file: DumpFile) -> Iterator[tuple[int | str, str, str]]:
    if file.suffix == ".lang":
        for number, line in file.lines():
            if found := _OLD_PAIR.match(line):
                yield number, found.group(1), found.group(2)
        return
    table = parse_json(file, comments=True)
    if not isinstance(table, dict):
        raise DumpError(f"{file.name} is not a table of keys and texts")
    for key, value in table.items():
        if isinstance(value, str):
            yield f"key {key[:100]}", key, value


@reader("minecraft", "Minecraft language file", sniff=_sniff, extensions=(".lang",))
def read_minecraft(file: DumpFile, join: Join) -> Iterator[Line | None]:
    """Every text that is not the name of a thing."""
    language = file.path.stem if _FILE.match(file.path.stem) else None
    for place, key, value in _pairs(file):
        first, _, rest = key.partition(".")
        role = first if first.casefold() in _ROLES else None
        words = key.casefold().split(".")
        # A mod puts its own name first: "harbourmod.subtitle.creak" is as little speech as "subtitle.creak".
        if not rest or words[0] in _THINGS or (role is None and not _NOT_SAID.isdisjoint(words[:-1])):
            continue
        text = _COLOUR.sub("", value.replace("\\n", " "))
        yield file.line(place, text, role, scene=key.rpartition(".")[0], lang=language, id=key)
