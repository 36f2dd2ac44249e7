"""What is not computed twice: turns of a talk, a cast in few slots, a persona in the next run, sets of adapters.

    python -m benchmarks.cache MODEL.gguf

Prints token counts, which do not depend on the machine, and times to the first token, which do.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from modkit import Chat, Engine

WORDS = "You are Sable, who keeps the harbour lamp and knows the tide, the boats and who owes whom what. "


def loaded(model: Path, **settings: object) -> Engine:
    engine = Engine(model, **settings)  # type: ignore[arg-type]
    while engine.loading:
        engine.tick()
        time.sleep(0.001)
    time.sleep(0.5)  # the measuring of batches after loading
    return engine


def ten_turns(model: Path) -> None:
    with loaded(model, context=4096) as engine:
        chat = Chat(engine, WORDS * 5)
        computed = total = 0
        for turn in range(10):
            stream = chat.say(f"What did you see in night {turn}, and who was there?", max_tokens=24, seed=turn)
            stream.result()
            computed += stream.stats.prompt_tokens - stream.stats.cached_tokens
            total = stream.stats.prompt_tokens + stream.stats.generated_tokens
        print(f"10 turns: {computed} tokens of prompt computed, the transcript has {total}: {computed / total:.2f}")


def a_cast(model: Path) -> None:
    with loaded(model, context=512, slots=4, cache_ram="2GiB") as engine:
        chats = [Chat(engine, f"You are keeper {i}. " + WORDS * 2) for i in range(64)]
        more, before = 0, [0] * len(chats)
        for turn in range(2):
            for i, chat in enumerate(chats):
                stream = chat.say(f"Is it lit, keeper {i}?", max_tokens=6, seed=i)
                stream.result()
                if turn:
                    new = stream.stats.prompt_tokens - before[i]
                    more = max(more, stream.stats.prompt_tokens - stream.stats.cached_tokens - new)
                before[i] = stream.stats.prompt_tokens + stream.stats.generated_tokens
        print(f"64 NPCs in 4 slots: turn 2 computed at most {more} tokens more than its new ones")


def a_persona(model: Path, tokens: int = 1500) -> None:
    with tempfile.TemporaryDirectory() as folder:
        times = []
        for _ in range(3):
            with loaded(model, context=4096, cache_dir=folder) as engine:
                count = engine.generate(WORDS * 20, max_tokens=1)
                count.result()
                persona = WORDS * (tokens * 20 // count.stats.prompt_tokens + 1)
                stream = Chat(engine, persona).say("Who are you?", max_tokens=2)
                stream.result()
                times.append(stream.stats.time_to_first_token)
                cached = stream.stats.cached_tokens
        cold, restored = times[0], min(times[1:])
        share = f"{restored / cold:.1%}"
        print(f"persona of {cached} tokens: first token {cold:.3f} s cold, {restored:.3f} s read back: {share}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    model = parser.parse_args().model
    ten_turns(model)
    a_cast(model)
    a_persona(model)


if __name__ == "__main__":
    main()
