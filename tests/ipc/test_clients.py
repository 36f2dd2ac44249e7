"""The clients that other hosts copy: a Lua file in every Lua that is here, a Python file for 3.7 and later."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from modkit.ipc.framing import Decoder, Limits
from modkit.persona import Persona, Save, build
from tests.ipc.test_framing import VECTORS, as_json

ROOT = Path(__file__).resolve().parent.parent.parent
CLIENTS = ROOT / "examples" / "clients"
LUAS = ["luajit", "lua5.1", "lua5.2", "lua5.3", "lua5.4"]
HERE = Path(__file__).parent


def lua(name: str) -> str:
    found = shutil.which(name)
    if found is None and os.environ.get("CI"):
        pytest.fail(f"{name} is missing, and CI must not go without it")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def load_client() -> ModuleType:
    spec = importlib.util.spec_from_file_location("modkit_client", CLIENTS / "modkit_client.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small persona; her model is the one of the demo."""
    folder = tmp_path_factory.mktemp("sable")
    card = (ROOT / "examples" / "npc_character" / "card.txt").read_text(encoding="utf-8")
    build([ROOT / "examples" / "npc_character" / "dump"], "Sable", folder / "sable.persona", card=card)
    return folder / "sable.persona"


def command(sable: Path, *more: str) -> list[str]:
    model = ROOT / "examples" / "npc_character" / "sable.gguf"
    return [sys.executable, "-m", "modkit", "serve", str(sable), "--model", str(model), "--context", "1024", *more]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
# Any word is as likely as her last one, so she goes on to the end: what she has to say by herself is said in 7 ms, and
# then nothing is left to cancel, or to lose with the server.
RAMBLING = {"max_tokens": 400, "temperature": 5, "top_k": 0, "top_p": 1, "min_p": 0, "seed": 1}


@pytest.fixture
def served(sable: Path, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A server with a port, a Unix socket, a folder, a save."""
    (tmp_path / "mailbox").mkdir()
    (tmp_path / "root").mkdir()
    more = ["--port", "0", "--connect", str(tmp_path / "connect.json"), "--unix", str(tmp_path / "modkit.sock")]
    more += ["--files", str(tmp_path / "mailbox"), "--save", str(tmp_path / "save.db")]
    more += ["--root", str(tmp_path / "root")]
    process = subprocess.Popen(command(sable, *more), env=ENVIRONMENT, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (tmp_path / "modkit.sock").exists() or not (tmp_path / "connect.json").exists():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield {"folder": tmp_path, "pid": process.pid, **json.loads((tmp_path / "connect.json").read_text())}
    process.terminate()
    assert process.wait(20) == 0
    assert process.stderr is not None
    with process.stderr as stderr:
        assert b"Traceback" not in stderr.read()
    assert not (tmp_path / "connect.json").exists(), "the token goes with the server"


def talk(client: Any, words: str, **options: Any) -> Any:
    """Frame by frame, as a game would."""
    reply = client.say(words, **options)
    said = ""
    deadline = time.monotonic() + 60
    while not reply.done:
        client.update()
        said += reply.take()
        assert time.monotonic() < deadline, client.closed
        time.sleep(0.002)
    assert said + reply.take() == reply.text
    return reply


# ---- the Python client ----


def test_the_python_client_is_written_in_python_3_7() -> None:
    source = (CLIENTS / "modkit_client.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 7))
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(source))
        for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [])
    }
    assert imported <= {"contextlib", "json", "os", "select", "socket", "struct", "subprocess", "threading", "time"}


@pytest.mark.parametrize("way", ["port", "connect_file", "unix", "files"])
def test_the_python_client_talks_to_sable(way: str, served: dict[str, Any]) -> None:
    module, folder = load_client(), served["folder"]
    arguments = {
        "port": (served["port"], served["token"]),
        "connect_file": (str(folder / "connect.json"),),
        "unix": (str(folder / "modkit.sock"),),
        "files": (str(folder / "mailbox"),),
    }[way]
    client = getattr(module.Client, way)(*arguments)
    reply = talk(client, "Did the lamp go out last night?", facts=["The player limps."], max_tokens=30, temperature=0)
    assert reply.finish in ("stop", "length")
    assert len(reply.text.split()) >= 3
    assert client.wait("save") == {"saved": True}
    turns = client.wait("transcript", {"npc": "Sable"})["turns"]
    assert turns[-1]["reply"] == reply.text
    assert client.wait("save", {"to": "copy.db"}) == {"saved": True}
    with Save.open(folder / "root" / "copy.db") as save:
        assert save.turns("Sable")[-1].reply == reply.text
    with pytest.raises(module.ModkitError, match="no character called"):
        client.wait("say", {"text": "hello", "npc": "Nobody"})
    refused = talk(client, "x", temperature="hot")
    assert refused.error.kind == "OptionError"
    client.close()


def test_a_server_that_is_ended_as_soon_as_it_is_known_ends_politely(sable: Path, tmp_path: Path) -> None:
    known = tmp_path / "connect.json"
    line = command(sable, "--port", "0", "--connect", str(known), "--save", str(tmp_path / "save.db"))
    process = subprocess.Popen(line, env=ENVIRONMENT)
    deadline = time.monotonic() + 60
    while not known.exists() and time.monotonic() < deadline:
        pass  # not a moment later than can be
    process.terminate()
    assert process.wait(20) == 0
    assert not known.exists()


def python37() -> str | None:
    """A Python 3.7 that starts: pyenv's python3.7 on the path does so only where it is the chosen one."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [shutil.which("python3.7"), *map(str, sorted(pyenv.glob("versions/3.7.*/bin/python3.7")))]
    for old in filter(None, found):
        if subprocess.run([old, "-c", ""], capture_output=True).returncode == 0:
            return old
    return None


def test_the_python_client_runs_on_a_real_3_7(sable: Path, tmp_path: Path) -> None:
    old = python37()
    if old is None:
        pytest.skip("no Python 3.7 is installed: not on the path, and not among pyenv's")
    script = tmp_path / "talk.py"
    script.write_text(
        f"import sys, time\nsys.path.insert(0, {str(CLIENTS)!r})\nfrom modkit_client import Client\n"
        "client = Client.child(sys.argv[1:])\n"
        "reply = client.say('Did the lamp go out last night?', max_tokens=12)\n"
        "while not reply.done: client.update(); time.sleep(0.005)\n"
        "client.close()\nprint(sys.version_info[1], reply.error, reply.text)\n"
    )
    line = ["env", f"PYTHONPATH={ROOT}", *command(sable)]
    done = subprocess.run([old, str(script), *line], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.stdout.startswith("7 None "), done.stderr
    assert done.stdout.split()[2:]


def test_the_python_client_starts_the_server_as_its_child(sable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    client = load_client().Client.child(command(sable))
    first = talk(client, "Who are you?", max_tokens=20, seed=1)
    assert first.text
    long = client.say("Tell me everything.", **RAMBLING)
    while not long.text:
        client.update()
    long.cancel()
    deadline = time.monotonic() + 20
    while not long.done and time.monotonic() < deadline:
        client.update()
    assert long.finish == "cancelled"
    client.close()
    assert client._link._process.returncode == 0


def test_a_server_that_is_killed_ends_the_replies_and_the_client_says_so(
    sable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    client = load_client().Client.child(command(sable))
    reply = client.say("Tell me everything.", **RAMBLING)
    while not reply.text:
        client.update()
    client._link._process.kill()
    while not reply.done:
        client.update()
    assert reply.finish == "error"
    assert client.closed
    client.close()


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.json")), ids=lambda path: path.stem)
def test_the_python_client_reads_the_vectors(path: Path) -> None:
    module = load_client()
    module.MAX_FRAME, module.MAX_DEPTH = 1 << 18, 8
    vector = json.loads(path.read_text(encoding="utf-8"))
    data = path.with_suffix(".bin").read_bytes()

    def read() -> list[Any]:
        found, at = [], 0
        while at + 4 <= len(data):
            size = int.from_bytes(data[at : at + 4], "big")
            if not 1 <= size <= module.MAX_FRAME:
                raise ValueError(size)
            found.append(module.unpack(data[at + 4 : at + 4 + size]))
            if not isinstance(found[-1], list) or found[-1][0] not in range(5):
                raise ValueError(found[-1])
            at += 4 + size
        return found

    if vector["valid"]:
        assert [as_json(message) for message in read()] == vector["messages"]
        if vector["canonical"]:
            frames = [module.pack(message) for message in read()]
            assert b"".join(len(f).to_bytes(4, "big") + f for f in frames) == data
    else:
        with pytest.raises(ValueError):
            read()


# ---- the Lua client ----


@pytest.mark.parametrize("name", LUAS)
def test_the_lua_client_reads_and_writes_the_vectors(name: str) -> None:
    vectors = sorted(path for path in VECTORS.glob("*.json"))
    files = [str(path.with_suffix(".bin")) for path in vectors]
    script = [lua(name), str(HERE / "vectors.lua"), str(CLIENTS / "lua"), *files]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60, check=True)
    for path, line in zip(vectors, done.stdout.splitlines(), strict=True):
        vector = json.loads(path.read_text(encoding="utf-8"))
        verdict, _, written = line.partition(" ")
        assert verdict == ("ok" if vector["valid"] else "refused"), path.stem
        if vector["valid"] and path.stem != "records":  # bytes and texts are one to Lua
            decoder = Decoder(Limits())
            decoder.feed(bytes.fromhex(written))
            assert [decoder.next() for _ in vector["messages"]] == vector["messages"], path.stem


@pytest.mark.parametrize("name", LUAS)
def test_a_mod_in_lua_talks_to_sable_frame_by_frame(name: str, served: dict[str, Any]) -> None:
    script = [lua(name), str(HERE / "cet.lua"), str(CLIENTS / "lua"), str(served["folder"] / "mailbox"), "4000"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    report, _, rest = done.stdout.partition("\n")
    error, _, said = rest.partition("\n")
    assert (report.startswith("[sable] "), error) == (True, ""), done.stdout
    assert len(said.split()) >= 3
    module = load_client()
    client = module.Client.port(served["port"], served["token"])
    turn = client.wait("transcript")["turns"][-1]
    client.close()
    assert (turn["words"], turn["reply"]) == ("Did the lamp go out last night?", said)
    deadline = time.monotonic() + 10
    while list((served["folder"] / "mailbox").iterdir()):
        assert time.monotonic() < deadline, "the session's files stay behind"
        time.sleep(0.01)


def test_luajit_talks_over_a_port_and_lua_starts_its_own_server(
    served: dict[str, Any], sable: Path, tmp_path: Path
) -> None:
    code = """
    package.path = arg[1] .. "/?.lua;" .. package.path
    local modkit = require("modkit")
    local client = arg[2] == "tcp" and modkit.connect(arg[3]) or modkit.start(arg[3], arg[4])
    local reply = client:say("Who are you?", { options = { max_tokens = 12, seed = 1 } })
    local ends = os.time() + 60
    while not reply.done and not client.closed and os.time() < ends do client:update() end
    local saved
    client:request("status", {}, function(result, why) saved = why or result.model end)
    while not saved and not client.closed and os.time() < ends do client:update() end
    client:close()
    print(tostring(reply.error), tostring(saved))
    io.write(reply.text)
    """
    script = tmp_path / "talk.lua"
    script.write_text(code)
    own = tmp_path / "own"
    own.mkdir()
    line = " ".join(command(sable, "--files", str(own), "--until-eof"))
    for name, *arguments in (
        ("luajit", "tcp", str(served["folder"] / "connect.json")),
        ("lua5.1", "start", line, str(own)),
        ("lua5.4", "start", line, str(own)),
    ):
        done = subprocess.run(
            [lua(name), str(script), str(CLIENTS / "lua"), *arguments],
            capture_output=True,
            text=True,
            timeout=90,
            env=ENVIRONMENT,
        )
        assert done.returncode == 0, done.stderr
        head, _, said = done.stdout.partition("\n")
        assert head.split("\t")[0] == "nil", done.stdout
        assert "sable" in head.split("\t")[1].lower()
        assert said.strip()
        assert not list(own.iterdir()), "the server that Lua started has ended, and nothing is left of it"


def test_sable_here_is_the_one_of_the_demo(sable: Path) -> None:
    with Persona.open(sable) as persona:
        assert persona.name == "Sable"
        assert len(persona) > 20
