"""Turns whose words no memorising can supply: an invented name or thing stands in the prompt and must reach the reply.

They teach the one skill that the dump alone does not: take what the memory says and say it.
"""

from __future__ import annotations

import random
import re


def _listed(words: str) -> list[str]:
    return words.split()


ONSETS = _listed("b br c cr d dr f fl g gr h j k l m n p pr r s sh sk st t th tr v w y z qu bl gl pl sn sp")
VOWELS = _listed("a e i o u ai ea ee oa ou ie")
CODAS = _listed("b ck d g l ll m n nd nt p r rk rn s sk st t th x ff rt lm")
GOODS = _listed(
    "salt wool rope coal apples iron nails honey glass timber candles pepper leather tin onions cloth tar barley soap wine"
)
THINGS = _listed(
    "lantern knife letter ring compass bottle rope basket drum mirror key book spoon flute map coin boot hammer candle box"
)
LOOKS = _listed(
    "red blue broken old small heavy silver rusty wet green black wooden golden painted torn strange long cold empty"
)
TRADES = _listed(
    "cooper weaver baker tinker smith carpenter sailor cook farmer singer tailor miller pedlar joiner diver clerk"
)
PLACES = (
    "on the Long Quay", "on the Fish Stair", "at the Blue Eel", "by the Salt House", "in the Tar Yard", "at Hob's hut",
    "by the red door", "on Gull Rock", "behind the chapel", "on the hill road", "under the old pier", "at the market",
)  # fmt: skip
NAMES = _listed(
    "Tom John Mary Peter Anna William Alice George Martha Robert Jane Henry Ruth Thomas Emma Jack Ellen Simon Rose Paul Clara"
)
UNLUCKY = {"hell", "dick", "shit", "cunt", "slut", "tit", "piss", "nigger", "rape", "cock", "prick", "fuck"}
DAYS = _listed("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
NUMBERS = _listed("two three four five six seven eight nine ten eleven twelve twenty thirty forty")

# (memories, questions, replies); a slot in braces is filled with the same words in all three.
REMEMBERED: tuple[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...] = (
    (("I saw {name} {place} on {day}.", "{name} was {place} on {day}."),
     ("have you seen {name}", "where is {name}", "do you know where {name} is", "where was {name}", "I am looking for {name}"),
     ("I saw {name} {place} on {day}.", "{name}? I saw {name} {place}, on {day}.", "Try {place}. {name} was there on {day}.")),
    (("The {boat} carries {goods}.", "The {boat} came in with {goods}."),
     ("what does the {boat} carry", "what is on the {boat}", "tell me about the {boat}", "what did the {boat} bring"),
     ("{goods}. The {boat} carries {goods}.", "The {boat} brings {goods}, and not enough of it.", "The {boat} came in with {goods}.")),
    (("{name} owes me {number} marks.", "{name} still has {number} marks of mine."),
     ("does {name} owe you money", "what about {name}", "tell me about {name}", "do you know {name}", "how much does {name} owe you"),
     ("{name} owes me {number} marks.", "{number} marks. That is what {name} owes me.", "{name} still has {number} marks of mine.")),
    (("{name} is a {trade} from {town}.", "{name} the {trade} comes from {town}."),
     ("who is {name}", "do you know {name}", "what does {name} do", "where does {name} come from", "tell me about {name}"),
     ("{name} is a {trade} from {town}.", "A {trade}. {name} comes from {town}.", "{name}? A {trade}, out of {town}.")),
    (("The stranger gave me a {look} {thing}.", "The player gave me a {look} {thing}."),
     ("what did I give you", "do you remember my gift", "do you still have the {thing}", "what was my present"),
     ("A {look} {thing}. You gave me a {look} {thing}.", "You gave me a {look} {thing}. I have it still.", "The {look} {thing}. It is on my shelf.")),
    (("The stranger's name is {name}.", "The player said: my name is {name}.", "The player is called {name}."),
     ("what is my name", "do you remember my name", "who am I", "do you know me", "do you remember me", "you remember my name"),
     ("{name}. I do not forget a name.", "You are {name}. I keep names as I keep oil.", "Your name is {name}. You told me so.")),
    (("The word for the {town} gate is {word}.", "The secret word is {word}."),
     ("what is the secret word", "do you know the password", "what is the word", "tell me the secret word", "what is the password"),
     ("{word}. Say it quietly.", "The word is {word}. You did not hear it from me.", "They say {word}, and the door opens.")),
    (("There is a {look} {thing} hidden {place}.", "{name} hid a {look} {thing} {place}."),
     ("where is the {thing}", "have you seen a {thing}", "I am looking for a {thing}", "do you know where the {thing} is"),
     ("The {look} {thing} is {place}.", "Look {place}. There is a {look} {thing}.", "A {look} {thing}? It is {place}.")),
    (("{name} asked for {number} barrels of {goods}.", "{name} bought {number} barrels of {goods}."),
     ("what did {name} buy", "what does {name} want", "what about {name}", "how many barrels for {name}"),
     ("{number} barrels of {goods}. {name} wants no less.", "{name} asked for {number} barrels of {goods}.")),
    (("The {boat} sank off {town}.", "The {boat} went down near {town} with {number} men."),
     ("what happened to the {boat}", "where is the {boat}", "do you know the {boat}", "tell me about the {boat}"),
     ("The {boat} sank off {town}.", "She went down near {town}. The {boat} was a good boat.", "The {boat}? She is under the water off {town}.")),
    (("The price of {goods} is {number} coppers.", "{goods} costs {number} coppers now."),
     ("how much is the {goods}", "what does {goods} cost", "what is the price of {goods}", "is {goods} dear here"),
     ("{number} coppers. That is the price of {goods}.", "{goods} costs {number} coppers now.")),
    (("{name} wants to marry {other}.", "{name} does not speak to {other}.", "{name} is the cousin of {other}.", "{name} is afraid of {other}."),
     ("what about {name}", "do you know {name}", "tell me about {name}", "what do you know of {name} and {other}"), ()),
    (("{name} said that the {thing} was {look}.", "{name} sold a {look} {thing} to {other}.", "{name} has a dog called {other}.",
      "The old name of {town} is {word}.", "{name} built the {boat} with {other}.", "{name} left for {town} in the spring.",
      "I lent my {thing} to {name} and it came back {look}.", "{name} sings too loudly {place}.",
      "A man from {town} once offered me {number} marks for the {thing}.", "The {boat} is late, and {name} is worried."),
     ("what about {key}", "tell me about {key}", "do you know {key}", "what do you know about {key}", "{key}"), ()),
)  # fmt: skip
NOTICED: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("The player carries a {look} {thing}.", "The player is holding a {look} {thing}."),
     ("That is a {look} {thing} you carry.", "Put the {look} {thing} down while you talk.", "A {look} {thing}. You did not get that in Corrow.")),
    (("The player's name is {name}.", "The player is called {name}."),
     ("You are {name}, then.", "{name}. So that is your name.", "Good evening, {name}.")),
    (("{name} is here.", "{name} is standing nearby.", "{name} is listening."),
     ("Speak softly. {name} is listening.", "Not while {name} is here.", "{name} is here, I see.")),
    (("The player wears a {look} coat.", "The player wears a {look} hat."),
     ("A {look} thing to wear in this wind.", "Somebody sold you a {look} coat. I hope you paid little.")),
    (("The {boat} is in the harbour.", "The {boat} has just come in."),
     ("The {boat} is in. I saw her lights.", "So the {boat} has come in. Good.")),
)  # fmt: skip
STRANGE_QUESTIONS = (
    "who is {name}", "where is {town}", "what is a {word}", "do you know {name}", "tell me about {town}", "what about {name}",
    "have you been to {town}", "what do you think of {name}", "do you have a {word}", "is {name} here", "how far is {town}",
    "have you heard of {name}", "where can I find {name}", "tell me about the {word}", "what is {word}", "where is the {word}",
)  # fmt: skip
STRANGE_REPLIES = (
    "{key}? I do not know it. Ask me about oil, wick or tide.",
    "I have never heard of {key}. My world ends at the top of the hill.",
    "I know nothing of {key}, and I will not pretend to.",
    "{key} is no word of mine. Ask Nell, she hears everything.",
    "I cannot tell you about {key}. The lamp does not shine so far.",
)


SLOT = re.compile(r"\{(\w+)\}")
YOURS = (
    ("The stranger gave me", "You gave me"), ("The player gave me", "You gave me"), ("The stranger's name is", "Your name is"),
    ("The player is called", "You are called"), ("The player said: my name", "You said that your name"),
)  # fmt: skip


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
        "name": word(rng).capitalize(), "other": word(rng).capitalize(), "town": word(rng).capitalize(),
        "boat": word(rng).capitalize(), "word": word(rng), "goods": rng.choice(GOODS), "thing": rng.choice(THINGS),
        "look": rng.choice(LOOKS), "trade": rng.choice(TRADES), "place": rng.choice(PLACES), "day": rng.choice(DAYS),
        "number": rng.choice(NUMBERS),
    }  # fmt: skip
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


def _within(forms: tuple[str, ...], said: str) -> list[str]:
    """The forms that name nothing beyond what ``said`` names."""
    known = set(SLOT.findall(said)) | {"key"}
    return [form for form in forms if known.issuperset(SLOT.findall(form))]


def remembered(rng: random.Random) -> tuple[str, str, str, list[str]]:
    """A memory, a question about it, the reply, and up to two other memories that do not matter."""
    memories, questions, replies = rng.choice(REMEMBERED)
    fill = slots(rng)
    form = rng.choice(memories)
    keys = [fill[key] for key in SLOT.findall(form) if key in ("name", "other", "boat", "town")]
    fill["key"] = rng.choice(keys or [fill["thing"]])
    memory = _fill(form, fill)
    usable = _within(replies, form)
    if usable and rng.random() < 0.6:
        reply = _fill(rng.choice(usable), fill)
    else:
        reply = rng.choice(("", "", "", fill["key"] + "? ", "I remember. ", "Yes. ", "I know this much. ")) + memory
    for theirs, yours in YOURS:
        reply = reply.replace(theirs, yours)
    others = []
    for _ in range(rng.choices((0, 1, 2), (5, 3, 2))[0]):
        forms, _, _ = rng.choice(REMEMBERED)
        others.append(_fill(rng.choice(forms), slots(rng)))
    return memory, _fill(rng.choice(_within(questions, form)), fill), reply, others


def noticed(rng: random.Random) -> tuple[str, str]:
    """A fact that play noticed, and a remark that takes it up."""
    facts, remarks = rng.choice(NOTICED)
    fill = slots(rng)
    fact = _fill(rng.choice(facts), fill)
    return fact, _fill(rng.choice(remarks), fill)


def strange(rng: random.Random) -> tuple[str, str]:
    """A question about something that is nowhere in her world, and how she says so."""
    fill = slots(rng)
    question = rng.choice(STRANGE_QUESTIONS)
    fill["key"] = fill[next(key for key in ("name", "town", "word") if "{" + key + "}" in question)]
    return question.format(**fill), _fill(rng.choice(STRANGE_REPLIES), fill)
