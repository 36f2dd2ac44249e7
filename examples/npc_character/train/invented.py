"""Turns whose words no memorising can supply: an invented name or thing stands in the prompt and must reach the reply.

They teach the one skill that the dump alone does not: take what the memory says and say it.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

import topics


def _listed(words: str) -> list[str]:
    return words.split()


ONSETS = _listed("b br c cr d dr f fl g gr h j k l m n p pr r s sh sk st t th tr v w y z qu bl gl pl sn sp")
VOWELS = _listed("a e i o u ai ea ee oa ou ie")
CODAS = _listed("b ck d g l ll m n nd nt p r rk rn s sk st t th x ff rt lm")
GOODS = _listed(
    """
    salt wool rope coal apples iron nails honey glass timber candles pepper leather tin onions cloth tar
    barley soap wine
    """
)
THINGS = _listed(
    """
    lantern knife letter ring compass bottle rope basket drum mirror key book spoon flute map coin boot
    hammer candle box
    """
)
LOOKS = _listed(
    """
    red blue broken old small heavy silver rusty wet green black wooden golden painted torn strange long
    cold empty
    """
)
TRADES = _listed(
    """
    cooper weaver baker tinker smith carpenter sailor cook farmer singer tailor miller pedlar joiner
    diver clerk
    """
)
PLACES = (
    "on the Long Quay",
    "on the Fish Stair",
    "at the Blue Eel",
    "by the Salt House",
    "in the Tar Yard",
    "at Hob's hut",
    "by the red door",
    "on Gull Rock",
    "behind the chapel",
    "on the hill road",
    "under the old pier",
    "at the market",
)
NAMES = _listed(
    """
    Tom John Mary Peter Anna William Alice George Martha Robert Jane Henry Ruth Thomas Emma Jack Ellen
    Simon Rose Paul Clara
    """
)
UNLUCKY = {"hell", "dick", "shit", "cunt", "slut", "tit", "piss", "nigger", "rape", "cock", "prick", "fuck"}
DAYS = _listed("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
NUMBERS = _listed("two three four five six seven eight nine ten eleven twelve twenty thirty forty")

FRAMES = topics.read(Path(__file__).with_name("invented.txt"))
REMEMBERED = [frame for frame in FRAMES if frame.memories]
NOTICED = [frame for frame in FRAMES if frame.facts]
STRANGE = FRAMES[-1]
NOSY = [frame for frame in FRAMES if frame.name.startswith("nosy")]
PEOPLE = ("Bram", "Nell", "Crake", "Pip", "Hob")
SPOTS = ("the Blue Eel", "the Salt House", "the Tar Yard", "the Long Quay", "the Fish Stair", "Gull Rock", "the chapel")
SLOT = re.compile(r"\{(\w+)\}")
YOURS = (
    ("The stranger gave me", "You gave me"),
    ("The player gave me", "You gave me"),
    ("The stranger's name is", "Your name is"),
    ("The player is called", "You are called"),
    ("The player said: my name", "You said that your name"),
)


def word(rng: random.Random) -> str:
    """A word that is in no book: one to three syllables."""
    text = ""
    for _ in range(rng.choices((1, 2, 3), (2, 6, 2))[0]):
        text += rng.choice(ONSETS) + rng.choice(VOWELS)
    text += rng.choice(CODAS) if rng.random() < 0.8 else ""
    return word(rng) if text in UNLUCKY else text


def slots(rng: random.Random) -> dict[str, str]:
    """One filling of every slot. Now and then a thing or a trade is an invented word as well."""
    fill = {
        "name": word(rng).capitalize(),
        "other": word(rng).capitalize(),
        "town": word(rng).capitalize(),
        "boat": word(rng).capitalize(),
        "word": word(rng),
        "goods": rng.choice(GOODS),
        "thing": rng.choice(THINGS),
        "look": rng.choice(LOOKS),
        "trade": rng.choice(TRADES),
        "place": rng.choice(PLACES),
        "day": rng.choice(DAYS),
        "number": rng.choice(NUMBERS),
        "who": rng.choice(PEOPLE),
        "where": rng.choice(SPOTS),
    }
    if rng.random() < 0.25:
        fill["name"], fill["other"] = rng.sample(NAMES, 2)
    for key in ("goods", "thing", "look", "trade"):
        if rng.random() < 0.3:
            fill[key] = word(rng)
    return fill


def _fill(form: str, fill: dict[str, str]) -> str:
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", form.format(**fill))
    text = ". ".join(part[:1].upper() + part[1:] for part in text.split(". "))
    return text


def _within(forms: list[str], said: str) -> list[str]:
    """The forms that name nothing beyond what ``said`` names."""
    known = set(SLOT.findall(said)) | {"key"}
    return [form for form in forms if known.issuperset(SLOT.findall(form))]


def remembered(rng: random.Random) -> tuple[str, str, str, list[str]]:
    """A memory, a question about it, the reply, and up to two other memories that do not matter."""
    frame = rng.choice(REMEMBERED)
    fill = slots(rng)
    form = rng.choice(frame.memories)
    keys = [fill[key] for key in SLOT.findall(form) if key in ("name", "other", "boat", "town")]
    fill["key"] = rng.choice(keys or [fill["thing"]])
    memory = _fill(form, fill)
    usable = _within(frame.answers, form)
    if usable and rng.random() < 0.6:
        reply = _fill(rng.choice(usable), fill)
    else:
        reply = rng.choice(("", "", "", fill["key"] + "? ", "I remember. ", "Yes. ", "I know this much. ")) + memory
    for theirs, yours in YOURS:
        reply = reply.replace(theirs, yours)
    others = []
    for _ in range(rng.choices((0, 1, 2), (5, 3, 2))[0]):
        others.append(_fill(rng.choice(rng.choice(REMEMBERED).memories), slots(rng)))
    return memory, _fill(rng.choice(_within(frame.questions, form)), fill), reply, others


def noticed(rng: random.Random) -> tuple[str, str]:
    """A fact that play noticed, and a remark that takes it up."""
    frame = rng.choice(NOTICED)
    fill = slots(rng)
    fact = _fill(rng.choice(frame.facts), fill)
    return fact, _fill(rng.choice(frame.answers), fill)


def strange(rng: random.Random) -> tuple[str, str]:
    """A question about something that is nowhere in her world, and how she says so."""
    fill = slots(rng)
    question = rng.choice(STRANGE.questions)
    fill["key"] = fill[next(key for key in ("name", "town", "word") if "{" + key + "}" in question)]
    return question.format(**fill), _fill(rng.choice(STRANGE.answers), fill)


def nosy(rng: random.Random) -> tuple[str, str]:
    """A question about somebody or some place of the town that she has no answer to."""
    frame = rng.choices(NOSY, (3, 1))[0]
    fill = slots(rng)
    return rng.choice(frame.questions).format(**fill), _fill(rng.choice(frame.answers), fill)
