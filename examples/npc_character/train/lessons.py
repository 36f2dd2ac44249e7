"""The second lessons: say what you remember, say so when you do not, do what you offer, and let it show in your face.

The first corpus teaches Corrow. This one teaches what no memorising supplies. A memory is any sentence at all, her own
with half of its words exchanged for others or for words that are in no book; the question is what is left of the
sentence when its point is taken out; the answer is the sentence, word for word. Without the memory the same question
has one honest answer. Things to give and places to go to are offered in the prompt and differ from turn to turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import corpus
import dump
import invented
import topics

MOODS = {
    "warm": "the cat|little boats|thanks|compliment|good times|pip|pip origin|likes|friend|bring gift|gift of pie|hob|"
    "can i help|love|first fish|long night|happy for|tired player|wet|bleeding|mother|pip here|next keeper",
    "sad": "father|did your father sleep|brother|tin whistle|has it ever gone out|the heron|winter of the fog|"
    "white wick|death|worst night|sad player|the storm|dreams|about heart|low door",
    "stern": "whistling|rules|rule one|rule two|rule three|rule five|rule six|rule seven|crake|noon gun|harbour due|"
    "insult|threat|leave lamp|bad oil|watered oil|whistled|chair taken|armed|drunk|her chair|order|forgive crake",
    "wary": "secrets|trust|smugglers|grey wife|sunken bell|crimes elsewhere|who am i|player tells where from|"
    "crake sent|lamp out now|safe town|captains log|the teeth|the drag|storm now|fog now|the jar|soot near",
    "amused": "joke|bram|can bram swim|bram and hob|eel pie|gulls|married|numbers and school|magic|are you ai|tales|"
    "modern things|brass button|crake and nell|kings and wars|famous people|bram and the storm",
}
MOOD_OF = {topic: mood for mood, names in MOODS.items() for topic in names.split("|")}

UNKNOWN = topics.forms(
    """
    I do not know that. Nobody told me, and the lamp does not shine so far. |
    That I do not know. Ask Nell, she hears everything. |
    I never heard of it, and I will not make something up. |
    I do not know. I could invent something, but then you would know less than before. |
    Nobody told me that. I sit up here, and most news stays below. |
    I cannot tell you. I know oil, and wick, and tide. |
    I do not know, and I do not guess before midnight. |
    I have never heard about that. It has not come up these stairs.
    """
)
WH = topics.forms(
    """
    what did | what does | what is | what was | where does | where is | where did | where can I find | who | who is |
    why does | why did | why is | how does | how did | how many | how long | how much | when does | when did | which |
    whose | what about | tell me about | what happened to | do you know | is it true that | how old is | who has | can |
    does | did | what do you know of | what became of | what did they do with | in which | for what | with whom did
    """
)
KEEPS = topics.forms("the | the | a | of | in | with | to | from | his | her | their | on | at | and | for")
DOES_IT = topics.forms("keep | find | do with | say | have | want | get | make | see | use | pay | take | lose")

ASKED = topics.forms(  # about what is nowhere: {name} a name, {n} and {m} things, {v} a verb, {p} its past, {a} a look
    """
    what does {name} {v} in the {n} | where does {name} {v} the {n} | who {p} the {n} | why does {name} {v} the {n} |
    how many {n}s does {name} {v} | what happened to the {n} | whose {n} is in the {m} | what is the {n} made of |
    when did {name} {v} the {n} | how old is the {n} | what is wrong with {name} | can {name} {v} a {n} |
    what does a {a} {n} mean | how do you {v} the {n} | what did they find in the {n} | why did they {v} the {n} |
    is the {n} {a} | how long has {name} had the {n} | what colour is {name}'s {n} | where did {name} get the {n} |
    what is {name} afraid of | who taught {name} to {v} | what is in the {n} | what is under the {n} |
    who knows about the {n} | how did {name} lose the {n} | what did {name} {v} last winter | where did {name} go |
    what does {name} give for a {n} | how high is the {n} | which {n} did {name} {v} | what did the {a} man {v} |
    who owns the {a} {n} | why is the {n} so {a} | what does {name}'s {n} say | how far is it to the {n} |
    how does {name} {v} the {n} | what was written on the {n} | who hid the {n} | why does {name} wear a {n} |
    what is {name}'s {n} about | where is the {a} {n} of {name} | what is the {n} loaded with | what did {name} win
    """
)
NOUNS = topics.forms(
    """
    bucket | saddle | wagon | hen | barn | spade | trumpet | loom | kettle | plough | anvil | fence | cradle | ladle |
    bishop | judge | tailor | widow | gardener | mill | forge | dairy | orchard | stable | meadow | ferry | swamp |
    cave | dam | gallery | library | bakery | wheel | axle | chimney | ceiling | pantry | attic | gutter | bench |
    cloak | glove | ribbon | thimble | needle | buckle | sleeve | helmet | shield | arrow | drum | harp | bugle |
    turnip | plum | cabbage | honey | mustard | goose | donkey | badger | weasel | owl | crow | toad | wasp | moth |
    statue | banner | scroll | parcel | ledger | stamp | riddle | contract | verdict | medal | crown | tunnel |
    corporal | baron | duchess | pilgrim | juggler | beggar | surgeon | teacher | printer | thief | twin | godmother
    """
)
VERBS = (
    ("steal", "stole"), ("sell", "sold"), ("paint", "painted"), ("bury", "buried"), ("carry", "carried"),
    ("break", "broke"), ("open", "opened"), ("lock", "locked"), ("eat", "ate"), ("draw", "drew"), ("throw", "threw"),
    ("build", "built"), ("lend", "lent"), ("hide", "hid"), ("wash", "washed"), ("feed", "fed"), ("ride", "rode"),
    ("weigh", "weighed"), ("count", "counted"), ("mend", "mended"), ("keep", "kept"), ("find", "found"),
)  # fmt: skip

GIVE = topics.forms(
    """
    can I have the {x} | give me the {x} | lend me your {x} | I need a {x} | may I borrow the {x} | hand me the {x} |
    do you have a {x} for me | would you give me the {x} | I would like to have the {x} | could I take the {x} |
    please give me a {x} | let me have the {x} | can you lend me a {x} | could you spare a {x} | pass me the {x} |
    I want your {x} | I could use a {x} | will you let me have the {x} | the {x}, please
    """
)
LEAD = topics.forms(
    """
    take me to {x} | show me the way to {x} | can you lead me to {x} | walk with me to {x} | bring me to {x} |
    would you come with me to {x} | guide me to {x} | come along to {x} | will you show me {x} | lead me to {x} |
    let us go to {x} | can you take me to {x} | go with me to {x}
    """
)
GIVEN = (
    "Take the {x}, and bring it back dry.",
    "Here is the {x}. It has outlived better strangers than you.",
    "The {x} is yours until morning. I count.",
    "Take it. A {x} is of no use to me up here.",
    "Here. Mind the {x}, it was my father's.",
)
LED = (
    "Come, then. It is not far to {x}, and I walk fast.",
    "Follow my lantern, and keep one hand on the wall. To {x}.",
    "I will bring you to {x}. Do not talk on the stairs.",
    "To {x}? Very well. Step where I step.",
)
REFUSED_GIVE = (
    "No. The {x} stays where it is.",
    "I cannot give you a {x}. What I have, the lamp needs.",
    "There is no {x} here for you, stranger.",
    "No. Ask Crake for a {x}, and enjoy the form.",
)
REFUSED_LEAD = (
    "No. I do not leave the lamp.",
    "Not to {x}. You will have to find it without me.",
    "I stay here, and so does the light. Go on alone.",
    "No. {x} can wait, and the lamp cannot.",
)
GIVE_SAYS = ("hand it to the player", "Give the player one of these.", "give something away", "Hand something over.")
LEAD_SAYS = ("walk the player there", "Lead the player to a place.", "lead the way", "Show the player the way.")
REFUSE_SAYS = ("say no", "Refuse what the player asks for.", "turn the player down", "Say no to it.")


LESSONS = ((36, 36, 9, 6, 5, 8), (42, 24, 16, 6, 4, 8))
REHEARSAL = ((64, 14, 10, 4, 3, 5), (64, 14, 10, 4, 3, 5))
AT_PLAY = ((70, 13, 8, 2, 2, 5), (70, 13, 8, 2, 2, 5))


class Lessons(corpus.Corpus):
    """Draws the conversations of the later stages.

    ``mix`` is how often each kind of turn comes, while ``simple`` and afterwards: topics, memories, what she does not
    know, lines of the dump, things noticed, actions. ``offered`` is the share of turns in which something may be done.
    """

    def __init__(
        self, home: Path, seed: int, mix: tuple[tuple[int, ...], tuple[int, ...]] = LESSONS, offered: float = 0.3
    ) -> None:
        super().__init__(home, seed, more=True)
        self.mix, self.offered = mix, offered
        said = [line.text for line in dump.read(home / "dump")]
        written = [answer for topic in self.topics for answer in topic.answers + topic.more]
        self.sentences = [text for text in (*said, *written) if 5 <= len(text.split()) <= 26 and "{" not in text]
        self.stock = sorted({w for text in self.sentences for w in corpus.words(text)})
        self.quiet = [topic for topic in self.asked if topic.name not in MOOD_OF]
        self.moody = [topic for topic in self.asked if topic.name in MOOD_OF]

    # ---- what she remembers ----

    def _other_word(self, word: str) -> str:
        """Another word in the place of ``word``: from her world or from no world, capitals kept."""
        rng = self.rng
        new = invented.word(rng) if rng.random() < 0.45 else rng.choice(self.stock)
        return new.capitalize() if word[:1].isupper() else new

    def sentence(self) -> str:
        """A sentence that was never said: one of the town's with some of its words exchanged."""
        share = self.rng.choice((0.15, 0.3, 0.5, 0.7))
        text = self.rng.choice(self.sentences)

        def swap(found: re.Match[str]) -> str:
            word = found.group()
            told = word.lower() not in corpus.PLAIN and len(word) > 2
            return self._other_word(word) if told and self.rng.random() < share else word

        return corpus.cut(re.sub(r"[A-Za-z][a-z']+", swap, text))

    def question_for(self, memory: str) -> str:
        """What is left of ``memory`` when one to three of its words are what is asked for."""
        rng = self.rng
        tokens = re.findall(r"[A-Za-z][\w']*", memory)
        telling = [n for n, word in enumerate(tokens) if word.lower() not in corpus.PLAIN and len(word) > 2]
        if not telling:
            return "what do you know about " + " ".join(tokens[:3])
        gap = rng.choice(telling) if len(telling) > 1 else -9
        left = [n for n in telling if not gap <= n < gap + rng.choice((1, 2, 3))] or telling[:1]
        kept = [n for n in left if rng.random() < 0.65][:5] or [rng.choice(left)]
        parts = []
        for n in kept:
            before = tokens[n - 1].lower() if n and tokens[n - 1].lower() in corpus.PLAIN else ""
            parts += [before] if before and rng.random() < 0.7 else []
            word = tokens[n] if n or tokens[n][1:] != tokens[n][1:].lower() or rng.random() < 0.5 else tokens[n].lower()
            parts.append(word)
        if len(kept) > 1 and rng.random() < 0.2:
            parts.insert(rng.randrange(1, len(parts)), rng.choice(DOES_IT))
        if rng.random() < 0.25:
            parts.insert(rng.randrange(len(parts)), rng.choice(KEEPS))
        return " ".join([rng.choice(WH), *parts])

    def remembered(self) -> tuple[str, str, str]:
        """A memory, a question about it, and the reply."""
        rng = self.rng
        if rng.random() < 0.25:
            memory, question, reply, _ = invented.remembered(rng)
            return memory, question, reply
        if rng.random() < 0.12:
            line = rng.choice(self.telling)
            return line.text, self.question_for(line.said), line.text
        memory = self.sentence()
        if rng.random() < 0.1:
            memory = corpus.cut(f"{rng.choice(corpus.OTHERS)} said: {memory}")
        opener = rng.choice(corpus.OPENERS) if rng.random() < 0.5 else ""
        return memory, self.question_for(memory.rpartition(" said: ")[2]), opener + memory

    def beside(self, most: int = 2) -> list[str]:
        """Memories that do not matter, to stand before the one that does."""
        rng = self.rng
        many = rng.choices(range(most + 1), (4, 3, 5)[: most + 1])[0]
        return [rng.choice(self.telling).text if rng.random() < 0.6 else self.sentence() for _ in range(many)]

    def memory_turn(self) -> tuple[str, str]:
        memory, question, reply = self.remembered()
        facts = [self.fact()] if self.rng.random() < 0.05 else []
        asked = topics.reword(question, self.rng)
        return self.prompt(asked, [*self.beside(), memory], facts), reply

    def unknown_turn(self) -> tuple[str, str]:
        """The same kind of question with nothing to go by."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.2:
            question, reply = (invented.strange if rng.random() < 0.5 else invented.nosy)(rng)
        elif kind < 0.65:
            verb, past = rng.choice(VERBS)
            name = invented.word(rng).capitalize() if rng.random() < 0.6 else rng.choice(invented.NAMES)
            n, m = (rng.choice(NOUNS) if rng.random() < 0.7 else invented.word(rng) for _ in range(2))
            question = rng.choice(ASKED).format(name=name, n=n, m=m, v=verb, p=past, a=rng.choice(invented.LOOKS))
            reply = rng.choice(UNKNOWN)
        else:
            _, question, _ = self.remembered()
            reply = rng.choice(UNKNOWN)
        memories = []
        if rng.random() < 0.2:
            known = set(corpus.words(question))
            memories = [text for text in self.beside() if not known & set(corpus.words(text))]
        return self.prompt(topics.reword(question, rng), memories), reply

    # ---- what she does ----

    def prompt(
        self, player: str, memories: Sequence[str] = (), facts: Sequence[str] = (), offers: Sequence[str] | None = None
    ) -> str:
        """As ``corpus.prompt``, below what may be done, which stands there in a third of the turns."""
        if offers is None:
            offers = self.offers()[0] if self.rng.random() < self.offered else ()
        head = "".join(f"* {offer}\n" for offer in offers)
        return (f"You can do:\n{head}" if head else "") + corpus.prompt(player, memories, facts)

    def offers(self) -> tuple[list[str], list[str], list[str]]:
        """The lines of what may be done, the things to give and the places to lead to; there may be none of a kind."""
        rng = self.rng
        things = sorted({self.thing() for _ in range(rng.choice((1, 2, 2, 3)))})
        places = rng.sample(invented.SPOTS, rng.choice((1, 2, 2, 3)))
        rows, given, led = [], [], []
        if rng.random() < 0.85:
            given = things
            rows.append(f"give(item: {self._choice(given)}): {rng.choice(GIVE_SAYS)}")
        if rng.random() < 0.6:
            led = places
            rows.append(f"lead(place: {self._choice(led)}): {rng.choice(LEAD_SAYS)}")
        rows.append(f"refuse(): {rng.choice(REFUSE_SAYS)}")
        return rows, given, led

    @staticmethod
    def _choice(words: Sequence[str]) -> str:
        return " | ".join(f'"{word}"' for word in words)

    def thing(self) -> str:
        rng = self.rng
        word = rng.choice((rng.choice(invented.THINGS), rng.choice(self.stock), invented.word(rng), "lantern", "oil"))
        return f"{rng.choice(invented.LOOKS)} {word}" if rng.random() < 0.15 else word

    def action_turn(self) -> tuple[str, str]:
        """Something is asked of her: what is on offer she does, anything else she refuses."""
        rng = self.rng
        rows, given, led = self.offers()
        giving = rng.random() < 0.6
        offered = given if giving else led
        willing = bool(offered) and rng.random() < 0.6
        anything = self.thing if giving else lambda: rng.choice(invented.SPOTS)
        x = rng.choice(offered) if willing else anything()
        while not willing and x in offered:  # two of three things are common ones, so this happens
            x = anything()
        asked = rng.choice(GIVE if giving else LEAD).format(x=x)
        if willing:
            key = "item" if giving else "place"
            done = f'<do:{"give" if giving else "lead"} {{"{key}":"{x}"}}>'
            reply = f"{rng.choice(GIVEN if giving else LED).format(x=x)} {done}"
        else:
            says = rng.choice(REFUSED_GIVE if giving else REFUSED_LEAD).format(x=x)
            reply = f"{says[:1].upper()}{says[1:]} <do:refuse {{}}>"
        memories = self.beside() if rng.random() < 0.4 else []
        content = self.prompt(topics.reword(asked, rng), memories, (), rows)
        return content, self.worn("warm" if willing else "stern", reply)

    @staticmethod
    def worn(mood: str | None, reply: str) -> str:
        return f"<mood:{mood}> {reply}" if mood else reply

    # ---- all of it ----

    def topic_turns(self) -> Iterator[tuple[str, str]]:
        """A question on a written topic; what comes to mind stands there as in play, and rarely matters."""
        rng = self.rng
        topic = rng.choice(self.asked)
        mood = MOOD_OF.get(topic.name)
        question = topic.ask(rng, self.more and rng.random() < 0.6)
        memories = [memory.text for _, memory in self.memories(question)] if rng.random() < 0.7 else []
        facts = [self.fact()] if rng.random() < 0.05 else []
        yield self.prompt(question, memories, facts), self.worn(mood, rng.choice(topic.answers))
        if topic.more and rng.random() < 0.2:
            yield self.prompt(topics.reword(rng.choice(corpus.GO_ON), rng)), self.worn(mood, rng.choice(topic.more))

    def turns(self) -> Iterator[tuple[str, str]]:
        # Copying first: it is the slower thing to learn. Then what not to copy, and what not to say.
        kind = self.rng.choices(range(6), self.mix[0] if self.simple else self.mix[1])[0]
        if kind == 0:
            yield from self.topic_turns()
        else:
            lessons = (self.memory_turn, self.unknown_turn, self.line_turn, self.noticed_turn, self.action_turn)
            yield lessons[kind - 1]()
