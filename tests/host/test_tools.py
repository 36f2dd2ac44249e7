"""What an author has: a mod to begin with, a check that runs nothing, a console, and `modkit play --watch`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from modkit.cli import main
from modkit.errors import OptionError
from modkit.host import Console, Host
from modkit.host.check import check_mod
from modkit.host.scaffold import new_mod
from modkit.testing import ManualClock, run_ticks

WriteMod = Callable[..., Path]
ROOT = Path(__file__).resolve().parents[2]


def test_a_new_mod_runs_as_it_is_checks_clean_and_passes_its_own_test(tmp_path: Path) -> None:
    folder = new_mod('The "Night" Watch', tmp_path / "mods")
    assert folder.name == "the_night_watch"
    with Host(tmp_path / "mods") as host:
        assert {report.state for report in host.report.values()} == {"running"}
        assert host.mods[0].name == "The Night Watch"
    assert check_mod(folder) == []
    known = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    done = subprocess.run(command, cwd=tmp_path, env=known, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr
    with pytest.raises(OptionError, match="exists already"):
        new_mod("the night watch", tmp_path / "mods")
    with pytest.raises(OptionError, match="begin the name with a letter"):
        new_mod("42", tmp_path)


MISTAKES = [
    ("def f(:", "does not compile", True),
    ("while True:\n    break", "a loop at the top level", True),
    ("for n in range(3):\n    pass", "a loop at the top level", True),
    ("print('hello')", "print() is called at the top level", True),
    ("data = open('x.txt').read()", "open() is called at the top level", True),
    ("if True:\n    main()", "main() is called at the top level", True),
    ("import socket", 'permissions = ["network"]', True),
    ("from urllib.request import urlopen", 'permissions = ["network"]', True),
    ("import asyncio", "asyncio has no loop here", True),
    ('@on("go")\ndef f(mod):\n    pass', "f() is called as f(mod, event); give it 2 arguments", True),
    ("@every(1)\ndef f(mod, event):\n    pass", "called as f(mod)", True),
    ("@save\ndef f():\n    pass", "called as f(mod); give it 1 argument", True),
    ("@restore\ndef f(mod, state):\n    pass", "f(mod, state, version)", True),
    ("@save\nasync def f(mod):\n    pass", "cannot be async", True),
    ('@on("unload")\nasync def f(mod, event):\n    pass', "cannot be async", True),
    ('@on("raedy")\ndef f(mod, event):\n    pass', "did you mean 'ready'?", False),
    ('@on("player_nera")\ndef f(mod, event):\n    pass', "did you mean 'player_near'?", False),
    ('def f(mod):\n    mod.emit("tick")', "only the host emits 'tick'", True),
    ("import time\ndef f(mod):\n    time.sleep(1)", "time.sleep() stops the game", True),
    ("async def f(mod):\n    seconds(2)", "await seconds(…)", True),
    ("async def g():\n    pass\ndef f(mod):\n    g()", "never awaited: await it, or mod.spawn(g(…))", True),
    ("async def f(mod):\n    while True:\n        x = 1", "await frames(1) in it", True),
    ("def f(mod):\n    open('x')", "mod.open()", False),
    ("def f(mod):\n    print(1)", "mod.log.info()", False),
    ("def f(mod):\n    mod.npc('a').say('b').result()", "await the reply", False),
    ("def f(mod):\n    mod.storage['a'].append(1)", "assign it to mod.storage again", False),
    ("def f(mod):\n    exec('x')", "compiles inside the frame", False),
]


@pytest.mark.parametrize(("script", "text", "error"), MISTAKES)
def test_a_mistake_is_found_without_running_the_mod(
    write_mod: WriteMod, script: str, text: str, error: bool
) -> None:
    write_mod("game_side", 'def f(mod):\n    mod.emit("player_near")\n')
    folder = write_mod("m", script)
    found = [finding for finding in check_mod(folder) if text in finding.text]
    assert len(found) == 1 and found[0].error is error
    assert found[0].file == "main.py" and found[0].line > 1


@pytest.mark.parametrize(
    "script",
    [
        "import re\nWORD = re.compile('a')\nfrom dataclasses import dataclass\n",
        "try:\n    import json\nexcept ImportError:\n    json = None\n",
        '@on("ready")\nasync def f(mod, _=None, *more):\n    while True:\n        await seconds(1)\n',
        '@on("go")\nasync def f(mod, e):\n    async for words in mod.npc("a").say("b"):\n        mod.emit("went")\n',
        "async def g():\n    pass\ndef f(mod):\n    mod.spawn(g())\n",
        "import os\nHOME = os.environ.get('HOME')\n",
    ],
)
def test_what_is_right_is_left_alone(write_mod: WriteMod, script: str) -> None:
    assert check_mod(write_mod("m", script)) == []


def test_what_cannot_be_had_in_a_process_of_its_own_is_found(write_mod: WriteMod) -> None:
    script = """
        @on("x")
        async def x(mod, e):
            mara = mod.npc("mara")
            mod.log.info(mara.transcript)
            mod.log.info(mod.npc("mara").mood)
            mara.say("?"), mara.actions, mara.id
        """
    worker = write_mod("far", script, toml='id = "far"\nrun = "worker"\n')
    assert [(f.line, f.text.split()[0]) for f in check_mod(worker) if f.error] == [(6, "transcript"), (7, "mood")]
    assert not [f for f in check_mod(write_mod("near", script)) if f.error]


def test_the_demos_mod_is_clean() -> None:
    assert check_mod(ROOT / "examples" / "npc_character" / "mods" / "harbour", events=["player_says"]) == []


def test_with_the_games_events_another_is_an_error(write_mod: WriteMod) -> None:
    folder = write_mod("m", '@on("dusk")\ndef f(mod, e):\n    pass\n@on("player_near")\ndef g(mod, e):\n    pass\n')
    assert check_mod(folder) == []
    (found,) = check_mod(folder, events=["player_near"])
    assert found.error and "nobody emits 'dusk'" in found.text


def test_check_and_new_on_the_command_line(
    write_mod: WriteMod, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, broken = write_mod("good", ""), write_mod("bad", "import asyncio"), write_mod("broken", toml="id = 3")
    assert main(["check", str(good)]) == 0
    assert main(["check", str(good), str(bad), str(broken), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [(Path(one["mod"]).name, one["file"], one["error"]) for one in found] == [
        ("bad", "main.py", True),
        ("broken", "mod.toml", True),
    ]
    assert main(["new", "mod", "lamp", "--in", str(tmp_path)]) == 0
    assert (tmp_path / "lamp" / "mod.toml").is_file() and "modkit check" in capsys.readouterr().out
    assert main(["new", "mod", "lamp", "--in", str(tmp_path)]) == 2


def test_the_console_says_and_does(write_mod: WriteMod, mods: Path, tmp_path: Path) -> None:
    toml = 'id = "hum"\nversion = "1.0"\n[settings.volume]\ntype = "float"\ndefault = 1.0\nmax = 2\n'
    script = 'secret = 41\n@on("go")\ndef go(mod, e):\n    mod.emit("went", n=e.n, who=e.who)\n'
    write_mod("hum", script, toml=toml)
    write_mod("broken", "1 / 0")
    host = Host(mods, clock=ManualClock(step=0.001), save=tmp_path / "a.save")
    heard: list[object] = []
    host.subscribe("went", lambda event: heard.append(dict(event.fields)))
    console = Console(host)
    listed = console.run("list").splitlines()
    assert listed[0].split() == ["hum", "1.0", "running"] and "ZeroDivisionError" in listed[1]
    assert "next frame" in console.run('emit go n=3 who="A keeper"')
    run_ticks(host, 1)
    assert heard == [{"n": 3, "who": "A keeper"}]
    assert console.run("time").splitlines()[1].split()[:3] == ["hum", "1.00", "1"]
    assert "calls       1" in console.run("report hum")
    assert console.run("set hum volume 1.5") == "volume of hum is 1.5."
    assert "up to 2" in console.run("set hum volume 3")
    assert console.run("suspend hum") == "hum is suspended." and host.report["hum"].state == "suspended"
    assert console.run("resume hum") == "hum runs." and host.report["hum"].state == "running"
    write_mod("hum", script, toml=toml.replace("1.0", "1.1", 1))
    assert console.run("reload hum") == "hum was reloaded, version 1.1."
    write_mod("hum", "def f(:", toml=toml)
    assert "the old one goes on" in console.run("reload hum")
    assert "does not allow it" in console.run("eval hum secret")
    assert Console(host, allow_eval=True).run("eval hum secret + 1") == "42"
    assert "ZeroDivisionError" in Console(host, allow_eval=True).run("eval hum 1 / 0")
    assert console.run("save") == "Saving." and console.run("") == ""
    for line, answer in (
        ("dance", "no command 'dance'"),
        ("reload", "Write: reload MOD"),
        ("unload nobody", "No mod with the id"),
        ("emit go n", "Write: emit"),
        ('emit "go', "cannot be read"),
        ("emit tick", "Only the host"),
        ("report nobody", "There is no mod"),
    ):
        assert answer in console.run(line), line
    assert all(word in console.run("help") for word in console._commands)
    assert console.run("unload hum") == "hum was unloaded."


def test_play_watches_and_obeys_commands(write_mod: WriteMod, mods: Path) -> None:
    script = 'VERSION = {}\n@on("go")\ndef go(mod, e):\n    mod.emit("went", version=VERSION)\n'
    write_mod("m", dedent(script.format(1)))
    command = [sys.executable, "-m", "modkit", "play", str(mods), "--watch", "--eval"]
    known = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, env=known, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as game:
        assert game.stdin and game.stdout
        game.stdin.write("emit go\n")
        game.stdin.flush()
        said = [game.stdout.readline(), game.stdout.readline()]
        assert said == ["go comes with the next frame.\n", "m: went version=1\n"]
        write_mod("m", dedent(script.format(22)))
        deadline = time.monotonic() + 60
        while "version=22" not in said[-1]:
            assert time.monotonic() < deadline
            game.stdin.write("emit go\n")
            game.stdin.flush()
            said += [game.stdout.readline(), game.stdout.readline()]
        game.stdin.write("eval m VERSION\n")
        game.stdin.flush()
        assert game.stdout.readline() == "22\n"
        game.kill()
