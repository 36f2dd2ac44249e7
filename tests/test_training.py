"""The conversations that Sable's model is trained on can be drawn: training is not to stop after half an hour."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DEMO = Path(__file__).resolve().parent.parent / "examples" / "npc_character"
DRAW = """
import sys
from pathlib import Path
home = Path(sys.argv[1])
sys.path.insert(0, str(home / "train"))
from corpus import Corpus
from lessons import AT_PLAY, REHEARSAL, Lessons

for corpus in Corpus(home, 1), Lessons(home, 2), Lessons(home, 3, REHEARSAL), Lessons(home, 4, AT_PLAY, offered=0.7):
    for number in range(2000):
        corpus.simple = number % 2 == 0
        assert all(content and reply for content, reply in corpus.turns())
lessons = Lessons(home, 5)
for _ in range(5000):  # sometimes all that comes to mind to ask for is on offer
    content, reply = lessons.action_turn()
    given = reply.rpartition('{"item":"')[2].partition('"')[0] if "<do:give" in reply else None
    assert f'"{given}"' in content if given else "<do:" in reply
"""


def test_every_stage_has_conversations_without_end() -> None:
    ran = subprocess.run([sys.executable, "-c", DRAW, str(DEMO)], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
