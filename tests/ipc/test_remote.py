"""Models on another machine: against a real llama.cpp server on the loopback, and against one that misbehaves."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from modkit import errors
from modkit.ipc import RemoteEngine
from modkit.persona import NPC, build

ROOT = Path(__file__).resolve().parent.parent.parent


def start(model: Path, *more: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ipc.openai_server", str(model), *more],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert address.startswith("http"), "the server did not start"
    return process, address


def stop(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


@pytest.fixture(scope="module")
def address(models: Path) -> Iterator[str]:
    process, address = start(models / "small.gguf")
    yield address
    stop(process)


def finish(engine: RemoteEngine, *streams: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not all(stream.done for stream in streams):
        engine.tick()
        assert time.monotonic() < deadline, "it never ended"
        time.sleep(0.001)


def test_a_real_server_speaks_and_is_cancelled(address: str) -> None:
    with RemoteEngine(address) as engine:
        stream = engine.chat([{"role": "user", "content": "the lamp"}], max_tokens=12, temperature=0)
        finish(engine, stream)
        assert (stream.finish, stream.error) == ("length", None)
        assert stream.stats.prompt_tokens > 5
        assert stream.stats.generated_tokens == 12
        while engine.loading:
            engine.tick()
        assert engine.ready
        assert "small" in engine.name
        assert engine.context == 512
        again = engine.chat([{"role": "user", "content": "the lamp"}], max_tokens=12, temperature=0)
        assert again.result(60) == stream.text
        long = engine.generate("the tide", max_tokens=400)
        pieces = 0
        while pieces < 3:
            engine.tick()
            pieces += bool(long.take())
        long.cancel()
        finish(engine, long)
        assert long.finish == "cancelled"
        with pytest.raises(errors.ModkitError):
            engine.generate("lamp " * 2000, max_tokens=4).result(60)
        assert engine.generate("after all that", max_tokens=3).result(60) is not None


def test_many_speak_at_once_and_each_gets_its_own_words(address: str) -> None:
    with RemoteEngine(address, connections=4) as engine:
        questions = ["the lamp", "the tide", "oil", "who keeps the harbour", "a ship", "night"]
        alone = [engine.generate(q, max_tokens=16, temperature=0) for q in questions]
        finish(engine, *alone)
        together = [engine.generate(q, max_tokens=16, temperature=0) for q in questions]
        finish(engine, *together)
        assert [s.text for s in together] == [s.text for s in alone]
        assert len({s.text for s in alone}) > 1


def test_an_npc_cannot_tell_where_her_engine_is(address: str, tmp_path: Path) -> None:
    dump = tmp_path / "dump.jsonl"
    dump.write_text('{"speaker": "Sable", "text": "The lamp went out in the storm."}\n')
    build([dump], "Sable", tmp_path / "sable.persona")
    with RemoteEngine(address) as engine, NPC(tmp_path / "sable.persona", engine, tmp_path / "save.db") as npc:
        reply = npc.say("Did the lamp go out?", max_tokens=8)
        finish(engine, reply)
        assert reply.text == npc.transcript[-1].reply
        assert npc.last_memories


def test_texts_come_back_as_vectors(models: Path) -> None:
    process, address = start(models / "tiny.gguf", "--embedding")
    try:
        with RemoteEngine(address) as engine:
            vectors = engine.embed(["the lamp", "the tide"]).result(60)
            assert vectors.shape[0] == 2
            assert sum(x * x for x in vectors.tolist()[0]) == pytest.approx(1.0, abs=1e-3)
    finally:
        stop(process)


Script = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers /v1/models, then whatever the test's script says."""

    protocol_version = "HTTP/1.1"
    script: list[Script]
    asked: list[dict[str, Any]]

    def log_message(self, *arguments: Any) -> None:
        pass

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.answer(200, b'{"data": [{"id": "scripted", "max_model_len": 1234}]}')

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append({**body, "key": self.headers.get("Authorization")})
        self.script.pop(0)(self)

    def events(self, *lines: str, close: bool = True) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for line in lines:
            self.wfile.write((f"{line}\n\n" if line.startswith(":") else f"data: {line}\n\n").encode())
            self.wfile.flush()
        self.close_connection = close


@pytest.fixture
def scripted() -> Iterator[Callable[..., tuple[str, list[dict[str, Any]]]]]:
    servers: list[ThreadingHTTPServer] = []

    def make(*script: Script) -> tuple[str, list[dict[str, Any]]]:
        handler = type("Scripted", (Handler,), {"script": list(script), "asked": []})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}", handler.asked  # type: ignore[attr-defined]

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def words(text: str, finish: str | None = None) -> str:
    return json.dumps({"choices": [{"delta": {"content": text}, "finish_reason": finish}]})


def test_a_busy_server_is_asked_again_and_the_key_goes_along(
    scripted: Callable[..., tuple[str, list[dict[str, Any]]]],
) -> None:
    url, asked = scripted(
        lambda h: h.answer(503, b'{"error": {"message": "loading"}}'),
        lambda h: h.answer(429, b"slow down", Retry_After="0"),
        lambda h: h.events(words("The lamp"), ": a comment", words(" is lit.", "stop"), "[DONE]"),
    )
    with RemoteEngine(url + "/v1/", api_key="secret", extra={"user": "game"}) as engine:
        while engine.loading:
            engine.tick()
        stream = engine.chat([{"role": "user", "content": "?"}], seed=5, stop=["x"])
        assert stream.result(30) == "The lamp is lit."
        while engine.loading:
            engine.tick()
        assert engine.context == 1234
    assert len(asked) == 3
    assert asked[2]["key"] == "Bearer secret"
    assert (asked[2]["model"], asked[2]["seed"], asked[2]["stop"], asked[2]["user"]) == ("scripted", 5, ["x"], "game")


def test_words_never_come_twice_when_a_reply_breaks_off(
    scripted: Callable[..., tuple[str, list[dict[str, Any]]]],
) -> None:
    url, asked = scripted(lambda h: h.events(words("The lamp")))
    with RemoteEngine(url) as engine:
        stream = engine.chat([{"role": "user", "content": "?"}])
        with pytest.raises(errors.EngineError, match="middle of a reply"):
            stream.result(30)
        assert stream.text == "The lamp"
    assert len(asked) == 1


@pytest.mark.parametrize(
    "script",
    [
        lambda h: h.answer(404, b"<html>no such model</html>"),
        lambda h: h.answer(302, b"", Location="http://127.0.0.1:9/elsewhere"),
        lambda h: h.events("{not json", "[DONE]"),
        lambda h: h.events("[1, 2]"),
        lambda h: h.events('{"error": {"message": "out of memory"}}'),
        lambda h: h.events('{"choices": "none"}'),
        lambda h: h.events(),
    ],
)
def test_what_is_not_the_protocol_is_an_error_and_the_next_reply_works(
    script: Script, scripted: Callable[..., tuple[str, list[dict[str, Any]]]]
) -> None:
    url, asked = scripted(script, lambda h: h.events(words("Good.", "length")))
    with RemoteEngine(url) as engine:
        with pytest.raises(errors.EngineError):
            engine.chat([{"role": "user", "content": "?"}]).result(30)
        after = engine.chat([{"role": "user", "content": "?"}])
        assert after.result(30) == "Good."
        assert after.finish == "length"
    assert len(asked) == 2


def test_a_context_that_is_too_small_is_said_by_its_name(
    scripted: Callable[..., tuple[str, list[dict[str, Any]]]],
) -> None:
    said = b'{"error": {"message": "the request exceeds the available context size"}}'
    url, _ = scripted(lambda h: h.answer(400, said))
    with RemoteEngine(url) as engine, pytest.raises(errors.ContextOverflow):
        engine.chat([{"role": "user", "content": "?"}]).result(30)


def test_nobody_there_is_an_error_after_some_tries_and_a_silent_server_is_cancelled_at_once(
    scripted: Callable[..., tuple[str, list[dict[str, Any]]]],
) -> None:
    with RemoteEngine("http://127.0.0.1:9", retries=1) as engine:
        stream = engine.generate("the")
        with pytest.raises(errors.EngineError, match="does not answer after 2 tries"):
            stream.result(30)
        assert not engine.ready
    silence = threading.Event()
    url, _ = scripted(lambda h: silence.wait(30))  # type: ignore[arg-type, return-value]
    try:
        with RemoteEngine(url) as engine:
            stream = engine.generate("the")
            while not engine.ready:
                engine.tick()
            stream.cancel()
            finish(engine, stream, seconds=5)
            assert stream.finish == "cancelled"
    finally:
        silence.set()


def test_arguments_that_cannot_be_meant_are_refused() -> None:
    for url in ("ftp://x", "localhost", "http://", "http://user:word@host", "http://h:99999", "http://h/?x=1"):
        with pytest.raises(errors.OptionError, match="server's address|characters"):
            RemoteEngine(url)
    with RemoteEngine("http://127.0.0.1:9", retries=0) as engine:
        with pytest.raises(errors.OptionError):
            engine.generate("x", max_tokens=0)
        with pytest.raises(errors.OptionError):
            engine.generate("")
    with pytest.raises(errors.EngineClosed):
        engine.generate("x")


def test_looking_at_the_door_brings_no_ssl_with_it() -> None:
    code = "import sys, modkit\nmodkit.RemoteEngine, modkit.IsolatedEngine\nassert 'ssl' not in sys.modules, 'ssl'"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
