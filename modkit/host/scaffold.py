"""`modkit new mod NAME`: a mod that runs as it is, with a test, to be changed into what its author wants."""

from __future__ import annotations

import re
from pathlib import Path

from modkit.errors import OptionError

__all__ = ["new_mod"]

_ID = re.compile(r"[a-z][a-z0-9_-]{0,63}")

_TOML = """\
id = "{ident}"
name = "{name}"
version = "0.1.0"
authors = []
modkit = ">={modkit}"
requires = []                # "other_mod >=1.0", "? wished", "! not_with", "~ any_order"
permissions = []             # "files", "network", "process", "threads", "native"

[settings.pause]
type = "float"
default = 2.0
min = 0
max = 60
label = "Seconds that her last words stay"
"""

_MAIN = '''\
"""{name}."""

from __future__ import annotations

from modkit.host import Event, Mod, on, restore, save, seconds

greeted = 0


@on("player_near")
async def greet(mod: Mod, event: Event) -> None:
    """The game says that the player is near; a character answers, word by word."""
    global greeted
    greeted += 1
    reply = mod.npc("sable").say(event.text)
    async for words in reply:
        mod.emit("subtitle", speaker="Sable", text=words)
    await seconds(mod.settings["pause"])
    mod.emit("subtitle", speaker="", text="")


@save
def keep(mod: Mod) -> dict[str, int]:
    return {{"greeted": greeted}}


@restore
def bring_back(mod: Mod, state: dict[str, int], version: str) -> None:
    global greeted
    greeted = state["greeted"]
'''

_TEST = '''\
"""Runs without a game and without a model: python -m pytest test_{word}.py"""

from __future__ import annotations

from pathlib import Path

from modkit.testing import FakeEngine, load_mod, run_ticks


class Someone:
    """Stands in for an NPC."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine

    def say(self, words, **options):
        return self.engine.chat([{{"role": "user", "content": words}}], **options)


def test_she_answers_and_her_words_go_again():
    engine = FakeEngine(["Good evening."])
    host, mod = load_mod(Path(__file__).parent, engine=engine)
    with host:
        host.add_npc("sable", Someone(engine))
        said = []
        host.subscribe("subtitle", lambda event: said.append(event.text))
        host.emit("player_near", text="Hello!")
        run_ticks(host, 240)
        assert said == ["Good", " evening.", ""]
        assert host.report[mod.id].failures == 0
'''


def new_mod(name: str, parent: str | Path = ".") -> Path:
    """Write a new mod called `name` into a folder of that id under `parent`; returns the folder.

    The id is made from the name. Raises `OptionError` when no id can be made of it, or the folder exists.
    """
    from modkit import __version__

    ident = re.sub(r"[^a-z0-9_-]+", "_", name.lower()).strip("_-")[:64]
    if not _ID.fullmatch(ident):
        raise OptionError(f"no id can be made of {name!r}: begin the name with a letter from a to z")
    folder = Path(parent) / ident
    shown = name if name != ident else name.replace("_", " ").replace("-", " ").capitalize()
    shown = re.sub(r'[\x00-\x1f"\\]', "", shown)  # it goes into quotes, in two languages
    word = ident.replace("-", "_")
    files = {"mod.toml": _TOML, "main.py": _MAIN, f"test_{word}.py": _TEST}
    try:
        folder.mkdir(parents=True)
        for file, text in files.items():
            filled = text.format(ident=ident, name=shown, word=word, modkit=__version__)
            (folder / file).write_text(filled, encoding="utf-8")
    except FileExistsError:
        raise OptionError(f"{folder} exists already: take another name, or another folder with --in") from None
    except OSError as error:
        raise OptionError(f"{folder} cannot be written: {error.strerror or error}") from None
    return folder
