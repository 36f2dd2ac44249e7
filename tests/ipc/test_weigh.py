"""ask() and logprobs= over the OpenAI protocol: against a real llama.cpp server, and against other servers' shapes."""

from __future__ import annotations

import json
import math
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from modkit import Engine, errors
from modkit.ipc import RemoteEngine
from modkit.ipc.weigh import Told, Weighing, tokens_of
from tests.conftest import wait_until
from tests.ipc.test_remote import Handler, start, stop

CERTIFICATE = Path(__file__).with_name("loopback.pem")  # with its key: for 127.0.0.1, and of no worth anywhere
QUESTION = [{"role": "user", "content": "Did the lamp go out? Answer yes or no."}]


@pytest.fixture(scope="module")
def address(models: Path) -> Iterator[str]:
    process, address = start(models / "small.gguf")
    yield address
    stop(process)


def test_a_real_server_weighs_as_an_engine_here_does(address: str, models: Path) -> None:
    with Engine(models / "small.gguf", context=512) as here, RemoteEngine(address) as there:
        wait_until(here, lambda: here.ready)
        for question in ("Did the lamp go out?", QUESTION, lambda: QUESTION):
            say = here.generate if isinstance(question, str) else here.chat
            first = say(question, max_tokens=1, logprobs=40)  # type: ignore[operator]
            first.result(60)
            # the likeliest tokens: a model that was never taught anything would spell others in odd pieces
            texts = [told.text for told in first.logprobs[0].top]
            choices = [text for text in texts if text.strip().isalpha() and text.isascii()]
            choices = [text for text in choices if not any(c != text and text.startswith(c) for c in choices)][:5]
            ours, theirs = here.ask(question, choices).result(60), there.ask(question, choices).result(60)
            assert list(theirs) == choices
            assert theirs == pytest.approx(ours, abs=0.005)
        several = there.ask(QUESTION, [" yes", " no", " the lamp in the storm"]).result(60)
        assert sum(several.values()) == pytest.approx(1.0) and all(several.values())


def test_a_real_server_tells_the_logarithms_of_what_it_says(address: str) -> None:
    with RemoteEngine(address) as engine:
        said = engine.generate("the tide", max_tokens=6, temperature=0, logprobs=3)
        replied = engine.chat(QUESTION, max_tokens=4, temperature=0, logprobs=2)
        for stream, count, tops in ((said, 6, 3), (replied, 4, 2)):
            stream.result(60)
            assert len(stream.logprobs) == count
            assert all(told.logprob <= 0 and told.token >= 0 and len(told.top) == tops for told in stream.logprobs)
            assert all(told.logprob == pytest.approx(told.top[0].logprob) for told in stream.logprobs), "greedy"
        assert "".join(told.text for told in said.logprobs).strip() == said.text.strip()


# ---- servers that are not llama.cpp's ----


def scripted(answer: Callable[[dict[str, Any]], tuple[int, Any]], tls: bool = False) -> tuple[ThreadingHTTPServer, str]:
    class Scripted(Handler):
        def do_POST(self) -> None:
            status, said = answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.answer(status, json.dumps(said).encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # peers that turn away are the test's subject
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server, f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"


@pytest.fixture
def serving() -> Iterator[Callable[..., str]]:
    servers: list[ThreadingHTTPServer] = []

    def make(answer: Callable[[dict[str, Any]], tuple[int, Any]], **named: Any) -> str:
        server, url = scripted(answer, **named)
        servers.append(server)
        return url

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


def content(*tokens: tuple[str, float], top: dict[str, float] | None = None) -> dict[str, Any]:
    """As OpenAI's chat, llama-server and vLLM write it."""
    likeliest = [{"token": text, "logprob": value} for text, value in (top or {}).items()]
    listed = [{"token": text, "logprob": value, "top_logprobs": likeliest} for text, value in tokens]
    return {"choices": [{"message": {"content": "".join(t for t, _ in tokens)}, "logprobs": {"content": listed}}]}


def test_a_server_that_holds_replies_to_a_choice_is_asked_once_for_each(serving: Callable[..., str]) -> None:
    weights = {"yes": [("y", math.log(0.5)), ("es", math.log(0.5))], "no": [("no", math.log(0.75)), ("", 0.0)]}

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        (choice,) = body["structured_outputs"]["choice"]
        assert body["grammar"] == f'root ::= "{choice}"'
        assert body["temperature"] == 0 and not body["stream"]
        tokens = weights[choice]
        if "messages" in body:
            assert body["chat_template_kwargs"] == {"enable_thinking": False}
            return 200, content(*tokens)
        names, values = zip(*tokens)  # the older shape, of vLLM's completions
        told = {"tokens": names, "token_logprobs": values, "top_logprobs": [{n: v} for n, v in tokens]}
        return 200, {"choices": [{"text": choice, "logprobs": told}]}

    with RemoteEngine(serving(answer)) as engine:
        for question in (QUESTION, "Did it?"):
            assert engine.ask(question, ["yes", "no"]).result(30) == pytest.approx({"yes": 0.25, "no": 0.75})


@pytest.mark.parametrize("refuses", [True, False])
def test_a_server_without_grammars_is_asked_for_its_likeliest_tokens(
    refuses: bool, serving: Callable[..., str]
) -> None:
    asked: list[dict[str, Any]] = []

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        asked.append(body)
        if refuses and "grammar" in body:
            return 400, {"error": {"message": "Unrecognized request argument supplied: grammar"}}
        top = {"Yes": math.log(0.6), " yes": math.log(0.1), "N": math.log(0.2), "Well": math.log(0.1)}
        return 200, content(("Yes", math.log(0.6)), (", she", -1.0), top=top)

    with RemoteEngine(serving(answer)) as engine:
        found = engine.ask(QUESTION, ["Yes", "No", "perhaps"]).result(30)
        assert found == pytest.approx({"Yes": 0.75, "No": 0.25, "perhaps": 0.0})
        assert len(asked) == (2 if refuses else 3), "its own first words were those of the first choice"
        assert asked[-1]["max_tokens"] == 1 and "grammar" not in asked[-1]
        if refuses:
            with pytest.raises(errors.EngineError, match="begin with the same one"):
                engine.ask(QUESTION, ["Now", "No"]).result(30)
            with pytest.raises(errors.EngineError, match="likeliest"):
                engine.ask(QUESTION, ["one", "two"]).result(30)


def test_a_server_that_tells_nothing_or_nonsense_ends_the_answer_by_name(serving: Callable[..., str]) -> None:
    bodies = [
        {"choices": [{"message": {"content": "yes"}}]},
        {"choices": [{"logprobs": {"content": [{"token": "yes"}]}}]},
        {"choices": [{"logprobs": {"content": [{"token": "yes", "logprob": 7}]}}]},
        {"choices": [{"logprobs": {"content": "yes"}}]},
        {"choices": "yes"},
        [],
    ]
    for body in bodies:
        with RemoteEngine(serving(lambda _, body=body: (200, body))) as engine:  # type: ignore[misc]
            with pytest.raises(errors.EngineError):
                engine.ask(QUESTION, ["yes", "no"]).result(30)
            assert not engine._weighings and not engine._pending
    refused = pytest.raises(errors.EngineError, match="refused the request: 400")
    with RemoteEngine(serving(lambda _: (400, {"error": "no"}))) as engine, refused:
        engine.ask(QUESTION, ["yes", "no"]).result(30)


def test_a_question_that_cannot_be_meant_is_refused_and_a_cancelled_one_is_over(serving: Callable[..., str]) -> None:
    gate = threading.Event()

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        gate.wait(30)
        return 200, content(("yes", -0.1))

    with RemoteEngine(serving(answer)) as engine:
        for question, choices in (("", ["a", "b"]), ("?", ["a"]), ("?", ["a", "a"]), ("?", "ab")):
            with pytest.raises(errors.OptionError):
                engine.ask(question, choices)
        asked = engine.ask(QUESTION, ["yes", "no"])
        while engine.loading:
            engine.tick()
        asked.cancel()
        gate.set()
        with pytest.raises(errors.EngineError, match="cancelled"):
            asked.result(30)
        assert not engine._weighings and not engine._pending


def test_bytes_that_are_no_whole_character_are_put_together() -> None:
    euro = "€".encode()
    listed = [{"token": "\ufffd", "bytes": [byte], "logprob": -0.5} for byte in euro]
    weighing = Weighing(["€", "$"], chat=True)
    assert not weighing.take({"choices": [{"logprobs": {"content": listed}}]})
    assert weighing.logarithms == [pytest.approx(-1.5)]
    assert tokens_of({"logprobs": None}) == []
    assert Told(3, -1.0, b"\xff").records() == [[3, -1.0, "\ufffd"]]


# ---- https ----


def test_a_server_with_a_certificate_of_its_own_is_believed_by_it_and_by_nothing_else(
    serving: Callable[..., str], tmp_path: Path
) -> None:
    url = serving(lambda _: (200, content(("yes", -0.1), top={"yes": -0.1})), tls=True)
    with RemoteEngine(url, ca_file=CERTIFICATE) as engine:
        while engine.loading:
            engine.tick()
        assert engine.ready and engine.name == "scripted"
        assert engine.ask(QUESTION, ["yes", "no"]).result(30)["yes"] > 0.9
    with RemoteEngine(url) as engine, pytest.raises(errors.EngineError, match=r"not believed.*ca_file="):
        engine.ask(QUESTION, ["yes", "no"]).result(30)
    with (
        RemoteEngine(url.replace("127.0.0.1", "localhost"), ca_file=CERTIFICATE) as engine,
        pytest.raises(errors.EngineError, match="not believed"),
    ):
        engine.generate("?").result(30)
    with pytest.raises(errors.OptionError, match="https"):
        RemoteEngine("http://127.0.0.1:9", ca_file=CERTIFICATE)
    with pytest.raises(errors.OptionError, match="not a file"):
        RemoteEngine(url, ca_file=tmp_path / "missing.pem")
    (tmp_path / "empty.pem").write_text("nothing")
    empty = pytest.raises(errors.EngineError, match="no certificates")
    with RemoteEngine(url, ca_file=tmp_path / "empty.pem") as engine, empty:
        engine.generate("?").result(30)
