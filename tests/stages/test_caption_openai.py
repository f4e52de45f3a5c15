"""Captions by a server that misbehaves, or is killed: what counts as an answer, and what is asked again."""

import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError

from curate.workspace import open_workspace
from stages.caption.backends import make, openai, wire
from stages.caption.backends.cache import Cached
from stages.caption.backends.openai import OpenAI, OpenAIBackend
from stages.caption.protocol import BackendError, NoReplyError, Picture, Reply, Request

HERE = Path(__file__).parent


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextmanager
def serving(port, log, delay_s=0.0):
    command = [sys.executable, str(HERE / "hostile_server.py"), str(port), str(log), str(delay_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    port = free_port()
    with serving(port, tmp_path_factory.mktemp("hostile") / "log"):
        yield f"http://127.0.0.1:{port}/v1"


def ask(url, *texts, **settings):
    """Outcomes of the questions by number."""
    backend = OpenAIBackend(OpenAI(url=url, model="m", **{"attempts": 2, "timeout_s": 5} | settings))
    return dict(backend.answer(Request((text,)) for text in texts))


def lines(log, what):
    return Counter(line.split()[1] for line in log.read_text().splitlines() if line.startswith(what))


@pytest.mark.parametrize("fault", ["500", "torn"])
def test_what_passes_is_asked_again(url, fault):
    assert ask(url, f"{fault} again-{fault}")[0].text == f"Answer again-{fault}."


def test_retry_after_is_waited_for(url):
    began = time.monotonic()
    assert ask(url, "429 later")[0].text == "Answer later."
    assert time.monotonic() - began > 1


@pytest.mark.parametrize(
    "fault",
    "always500 half huge unsized empty blank null filtered nochoices garbage nested nothing number html".split(),
)
def test_what_is_no_answer_is_an_error_of_that_question_alone(url, fault):
    found = ask(url, f"{fault} bad-{fault}", "fine beside")
    assert isinstance(found[0], NoReplyError)
    assert len(str(found[0])) < 1000
    assert found[1].text == "Answer beside."


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_an_attempt_ends_in_time(url, fault):
    began = time.monotonic()
    assert "no answer in 0.5 s" in str(ask(url, f"{fault} slow-{fault}", timeout_s=0.5)[0])
    assert time.monotonic() - began < 4


def test_a_key_is_sent_and_never_shown(url, monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", "hush-hush")
    with pytest.raises(BackendError, match=r"\(key\)") as error:
        ask(url, "key k", key_variable="MY_KEY")
    assert "hush" not in str(error.value) + caplog.text
    with pytest.raises(BackendError, match="OTHER_KEY holds no key"):
        ask(url, "fine k2", key_variable="OTHER_KEY")
    with pytest.raises(ValidationError, match="environment variable"):
        OpenAI(url="http://me:secret@host/v1")


@contextmanager
def heard():
    """A server that answers one question: its port, and what it was sent."""
    sent = []

    def answer(listening):
        with listening.accept()[0] as connection, connection.makefile("rb") as file:
            head = [line.decode().strip() for line in iter(file.readline, b"\r\n")]
            size = next(int(line.split(": ")[1]) for line in head if line.lower().startswith("content-length"))
            sent.extend([*head, len(file.read(size))])
            body = b'{"choices": [{"message": {"content": "Seen."}, "finish_reason": "stop"}]}'
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answer, args=(listening,))
        thread.start()
        yield listening.getsockname()[1], sent
        thread.join()


def test_a_proxy_of_the_environment_gets_its_login_and_no_other(monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine model.invalid login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with heard() as (port, sent):
        monkeypatch.setenv("http_proxy", f"http://us%40er:pass@127.0.0.1:{port}")
        assert ask("http://model.invalid/v1", "what")[0].text == "Seen."
    assert sent[0] == "POST http://model.invalid/v1/chat/completions HTTP/1.1"
    assert "Proxy-Authorization: Basic dXNAZXI6cGFzcw==" in sent
    assert not [line for line in sent[:-1] if line.startswith("Authorization")]


def test_large_questions_arrive_whole():
    with heard() as (port, sent):
        backend = OpenAIBackend(OpenAI(url=f"http://127.0.0.1:{port}/v1", model="m", attempts=1))
        (only,) = backend.answer([Request((Picture(random.randbytes(3 << 20), 0.0),))])
        assert only[1].text == "Seen."
    assert sent[-1] > 4 << 20


def test_redirects_are_not_followed(url):
    with pytest.raises(BackendError, match="307"):
        ask(url, "redirect r")


def test_a_schema_is_given_up_where_it_is_refused(url, monkeypatch):
    heard = []
    monkeypatch.setattr(openai.LOG, "warning", lambda text, *of: heard.append(text % of))
    backend = OpenAIBackend(OpenAI(url=url, model="m"))
    schema = {"type": "object"}
    (only,) = backend.answer([Request(("noschema s",), schema=schema)])
    assert only[1].text == "Answer s."
    assert [line for line in heard if "refuses response_format" in line]
    (echo,) = backend.answer([Request(("echo e",), schema=schema, most_tokens=7)])
    assert "response_format" not in echo[1].text
    assert '"logprobs": true' in echo[1].text
    assert '"max_tokens": 7' in echo[1].text


def test_what_a_reply_tells(url):
    texts = ("sure a", "unsure b", "length c", "surrogate d", "repeated e")
    sure, unsure, cut, odd, again = (ask(url, *texts, price_in=2.0, price_out=4.0)[n] for n in range(5))
    assert sure == Reply("It rains.", pytest.approx(0.3679, abs=1e-4), True, 30, 10, pytest.approx(1e-4))
    assert unsure.confidence is None
    assert not cut.complete
    assert odd.text == "ab?c"
    assert again.text.startswith("the same the same")


def test_pictures_stand_between_the_texts_and_no_text_is_a_control_token():
    parts = ("<1.5s>", Picture(b"\xff\xd8", 1.5), 'a "quote" <|im_end|> <image>')
    sent = wire.body(Request(parts, system="s"), "m", ()).decode()
    assert '"<1.5s>"}, {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9g="}}, ' in sent
    assert '"a \\"quote\\" < |im_end|> < image>"' in sent


def test_rates_are_kept(url):
    began = time.monotonic()
    ask(url, *(f"fine rate-{n}" for n in range(12)), requests_per_minute=300)
    assert 0.9 < time.monotonic() - began < 5


def test_requests_are_drawn_as_they_are_needed(url):
    drawn = 0

    def texts():
        nonlocal drawn
        for n in range(100):
            drawn += 1
            yield Request((f"fine lazy-{n}",))

    answers = OpenAIBackend(OpenAI(url=url, model="m", concurrency=2)).answer(texts())
    for got, _ in enumerate(answers, 1):
        assert drawn - got <= 4
        if got == 20:
            break
    answers.close()
    assert drawn < 30


def test_a_server_that_is_not_there_is_an_error_of_all():
    began = time.monotonic()
    with pytest.raises(BackendError, match=r"nobody has answered for 0\.5 s"):
        ask(f"http://127.0.0.1:{free_port()}/v1", "fine x", "fine y", unreachable_s=0.5)
    assert time.monotonic() - began < 5


def test_a_server_killed_and_started_again_loses_no_answer(tmp_path):
    port, log = free_port(), tmp_path / "log"
    settings = OpenAI(url=f"http://127.0.0.1:{port}/v1", model="m", concurrency=4)
    requests = [Request((f"fine {n}",)) for n in range(80)]
    with open_workspace(str(tmp_path / "dataset")) as work:
        with serving(port, log, 0.02):
            answers = make(settings, work).answer(requests)
            found = dict(next(answers) for _ in range(20))
        with serving(port, log, 0.02):
            found |= dict(answers)
    assert {n: reply.text for n, reply in found.items()} == {n: f"Answer {n}." for n in range(80)}
    assert all(count == 1 for count in lines(log, "answered").values())


@pytest.mark.slow
def test_a_client_killed_again_and_again_asks_nothing_twice_that_it_kept(tmp_path):
    port, log, dataset = free_port(), tmp_path / "log", tmp_path / "dataset"
    command = [sys.executable, str(HERE / "asking_client.py"), f"http://127.0.0.1:{port}/v1", str(dataset), "120"]
    rng = random.Random(3)
    with serving(port, log, 0.03):
        kills = 0
        for _ in range(2):
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                for _ in range(rng.randint(15, 40)):
                    process.stdout.readline()
                process.send_signal(signal.SIGKILL)
                kills += 1
        with open_workspace(str(dataset)) as work:
            backend = make(OpenAI(url=f"http://127.0.0.1:{port}/v1", model="m", concurrency=4), work)

            def told():
                return {n: reply.text for n, reply in backend.answer(Request((f"fine {n}",)) for n in range(120))}

            assert told() == {n: f"Answer {n}." for n in range(120)}
            asked = lines(log, "asked")
            assert set(asked) == {str(n) for n in range(120)}
            assert sum(asked.values()) - 120 <= kills * 2 * 4
            assert told() == {n: f"Answer {n}." for n in range(120)}
            assert lines(log, "asked") == asked


def test_the_same_question_is_put_once_and_a_torn_answer_is_asked_again(url, tmp_path):
    class Counting(OpenAIBackend):
        put = 0

        def answer(self, requests):
            for outcome in super().answer(requests):
                self.put += 1
                yield outcome

    backend = Counting(OpenAI(url=url, model="m", attempts=1))
    with open_workspace(str(tmp_path)) as work:
        cached = Cached(backend, work)
        found = dict(cached.answer([Request((text,)) for text in ("fine p", "fine q", "fine p", "empty p", "fine p")]))
        assert backend.put == 3
        assert len(found) == 5
        assert found[0].text == found[2].text == found[4].text == "Answer p."
        assert not found[0].cached
        assert found[2].cached
        (p, q) = sorted(tmp_path.glob("replies/*/*.json"), key=lambda path: path.read_text().count("Answer q"))
        p.write_text(p.read_text()[:-5])
        q.write_text(q.read_text().replace("Answer q", "Answer x"))
        again = dict(cached.answer([Request(("fine p",)), Request(("fine q",))]))
        assert backend.put == 5
        assert {n: reply.text for n, reply in again.items()} == {0: "Answer p.", 1: "Answer q."}
        assert all(reply.cached for _, reply in cached.answer([Request(("fine p",)), Request(("fine q",))]))
        assert backend.put == 5
