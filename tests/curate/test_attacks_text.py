"""Names and texts of other people: on a terminal, in spreadsheets, unit files, logs and metrics they are text."""

from __future__ import annotations

import csv
import http.server
import io
import json
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from curate.commands.status import _errors
from curate.progress import Reporter
from curate.rules.rule import Rule
from curate.schedule.hooks import tell
from curate.schedule.metrics import Metrics
from curate.schedule.runs import ScheduledRun
from curate.schedule.serve import json_log, text_log
from curate.schedule.store import Schedule, Store
from curate.schedule.units import kubernetes, systemd
from curate.terminal import legible
from pipelines.export.folder import _FORMULA, _inert
from pipelines.export.webvtt import cues
from stages.caption.evaluate import audit
from stages.characters import command as characters
from stages.faces import command as faces
from stages.speech import command as speech
from stages.speech.formats import rttm, vtt
from tests.curate.traps import curate

EVIL = (
    "\x1b[31mred\x1b]0;title\x07 [red]markup[/red] \\[link=https://evil.example]x[/link] [/b] \\\\[bold]y "
    "\u202egpj.exe\u2066 \x9b2J \r\b <b>b</b> =1+1 \x00 end"
)
"""Escape sequences, Rich's markup, closings of markup that was not opened, overrides of direction, a NUL."""
STEERS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def shown(print_it: Any, *told: Any) -> str:
    """What a person's terminal gets, less what Rich itself steers with."""
    console = Console(file=io.StringIO(), width=2000, force_terminal=True, color_system=None, legacy_windows=False)
    print_it(console, *told)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def harmless(text: str) -> None:
    assert not STEERS.search(text), STEERS.findall(text)
    assert "[red]markup[/red]" in text  # as it stands: not obeyed, not lost
    assert "[link=https://evil.example]" in text


@given(st.text())
def test_nothing_steers_the_terminal_and_nothing_is_lost(text: str) -> None:
    told = legible(text)
    assert all(letter.isprintable() or letter == "\n" for letter in told)
    if text.isprintable():
        assert told == text


def test_status(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"path": f"/in[/{EVIL}", "clip_id": None, "stage": "probe", "message": EVIL}
    harmless(shown(lambda console: console.print(_errors([row]), highlight=False)))


def test_speech() -> None:
    row = {"kind": "speech", "start_s": 0.0, "end_s": 1.0, "speaker": EVIL, "voice": 1, "text": EVIL, "overlap_s": None}
    row |= {"origin": "subtitle file", "weak": False, "trouble": EVIL, "unmeasured": None}
    harmless(shown(speech.show, speech.summary([row])))
    assert len(rttm([row], EVIL).splitlines()) == 1
    assert len(rttm([row], EVIL).split()) == 10
    assert vtt([row]).count("-->") == 1
    assert "<b>" not in vtt([row])


def test_faces() -> None:
    person = {"label": EVIL, "name": None, "screen_s": 1.0, "clips": ["a"], "tracks": [], "unnamed": EVIL}
    harmless(shown(faces.show, {"people": [person], "tracks": [], "stopped_early": None}))


def test_characters() -> None:
    row = {"label": EVIL, "speaking_s": 1.0, "screen_s": 1.0, "on_screen_s": 1.0, "people": ["p"], "voices": [1]}
    row |= {"confidence": 0.5, "description": EVIL, "cast_description": EVIL, "named_by": None, "name_confidence": None}
    turn = {"start": 0.0, "end": 1.0, "character": EVIL, "confidence": None, "on_screen": [EVIL]}
    told = {"characters": [row], "utterances": [turn], "no_speech": None, "trouble": EVIL, "stopped_early": None}
    harmless(shown(characters.show, told))


def test_progress() -> None:
    log = io.StringIO()
    with Reporter(Console(file=log, width=2000)) as reporter:
        reporter.say(EVIL)
    harmless(log.getvalue())


def test_an_error_about_a_file_with_a_hostile_name(tmp_path: Path) -> None:
    film = tmp_path / "\x1b[31m[" / "b]\u202e\n.mp4"
    film.parent.mkdir()
    film.write_text("no film")
    done = subprocess.run(curate("cuts", film), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not STEERS.search(done.stdout + done.stderr)
    assert "\\x1b[31m[/b]\\u202e" in done.stderr


# -- spreadsheets ---------------------------------------------------------------------------------------------------

FORMULAS = ["=cmd|'/c calc'!A1", "+1", "-1+cmd()", "@SUM(1)", "\t=1", "\r=1", "\n=1", "＝1", "＠SUM"]


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_cell_is_a_formula(formula: str) -> None:
    assert _inert(formula) == f"'{formula}"
    row = {"node_id": "n", "level": "shot", "model": formula, "start_s": 0.0, "end_s": 1.0, "text": formula}
    (read,) = csv.DictReader(io.StringIO(audit.table([row])))
    for cell in read.values():
        assert not cell.startswith(_FORMULA)


def test_a_number_stays_a_number() -> None:
    assert _inert(-1.5) == -1.5
    assert _inert("a = b") == "a = b"


# -- subtitles ------------------------------------------------------------------------------------------------------


def test_webvtt_of_captions_has_no_other_cue_and_no_markup() -> None:
    text = "a\n\n1\n00:00:00.000 --> 09:00:00.000\n<c.evil>b</c> & NOTE\n\nSTYLE\n::cue{color:red}"
    told = cues([{"start_s": 0.0, "end_s": 1.0, "text": text}])
    assert told.count("-->") == 1
    assert "<c" not in told
    assert not re.search(r"^(STYLE|NOTE|REGION)", told, re.MULTILINE)


# -- schedules ------------------------------------------------------------------------------------------------------

WORDS = [
    "a b",
    "it's",
    'say "x"',
    "50%h",
    "$HOME",
    "$(HOME)",
    "$$(HOME)",
    "a\nExecStart=/bin/evil",
    "`id`",
    "; id",
    "\\n",
    "\t",
]


def schedule(tmp_path: Path, **more: Any) -> Schedule:
    values: dict[str, Any] = {"name": "nightly", "recipe": "long_take", "inputs": [str(tmp_path / "in")]}
    values |= {"output": str(tmp_path / "out"), "cron": "0 2 * * *", "timezone": "UTC"}
    return Schedule(**(values | {"created": datetime(2026, 1, 1, tzinfo=UTC)} | more))


def expanded(word: str, environment: dict[str, str]) -> str:
    """As Kubernetes expands a container's command (third_party/forked/golang/expansion)."""
    found, at = "", 0
    while at < len(word):
        if word[at : at + 2] == "$$":
            found, at = found + "$", at + 2
        elif match := re.match(r"\$\(([^)]*)\)", word[at:]):
            found, at = found + environment.get(match[1], match[0]), at + match.end()
        else:
            found, at = found + word[at], at + 1
    return found


def test_a_cron_job_gets_the_words_as_they_are(tmp_path: Path) -> None:
    inputs = [f"{tmp_path}/{word}" for word in WORDS]
    made = schedule(tmp_path, inputs=inputs, overrides=["people.cast=$(SECRET)"])
    job = yaml.safe_load(kubernetes(made, "image: evil\n", "claim"))
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert [expanded(w, {"HOME": "/root", "SECRET": "s"}) for w in container["command"]] == ["curate", *made.command()]
    assert container["image"] == "image: evil\n"


@pytest.mark.parametrize("word", WORDS)
def test_a_unit_file_gets_its_folder_as_it_is(tmp_path: Path, word: str) -> None:
    folder = tmp_path / word
    text = systemd(Store(folder))
    (line,) = [line for line in text.splitlines() if line.startswith("Environment=")]
    assert len([line for line in text.splitlines() if line.startswith("ExecStart=")]) == 1
    quoted = line.removeprefix('Environment="').removesuffix('"')
    # Systemd takes C's escapes, expands %, and leaves a dollar alone in an assignment.
    read = re.sub(r'\\(x[0-9a-f]{2}|[\\"])', lambda m: chr(int(m[1][1:], 16)) if len(m[1]) > 1 else m[1], quoted)
    assert read.replace("%%", "%") == f"LONGTAKE_SCHEDULES={folder.resolve()}"


def test_only_the_owner_reads_a_schedule(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = Store(tmp_path / "schedules")
        path = store.add(schedule(tmp_path, on_failure_webhook="https://hooks.example/T0/secret"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert store.get("nightly").on_failure_webhook == "https://hooks.example/T0/secret"


@contextmanager
def web(answer: int, **headers: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    asked: list[tuple[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append((self.command, self.path))
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(answer if self.path == "/hook" else 200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST  # noqa: N815 - the base class's name

        def log_message(self, *_: object) -> None:
            """Keep the test's output clean."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hook", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("to", ["/elsewhere", "file:///etc/passwd", "http://169.254.169.254/latest", "ftp://evil/x"])
def test_a_web_hook_leads_nowhere_else(tmp_path: Path, to: str) -> None:
    with web(302, Location=to) as (url, asked):
        hooks = tell(schedule(tmp_path, on_failure_webhook=url), {"schedule": "x", "state": "failed", "error": "e"})
    assert asked == [("POST", "/hook")]
    assert hooks["webhook"].startswith("no answer to trust: 302")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "gopher://x", "data:,x", "//x", "http://", "x"])
def test_a_web_hook_is_http(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match="no http"):
        schedule(tmp_path, on_failure_webhook=url)


def test_a_hook_gets_the_run_on_its_input_and_no_shell(tmp_path: Path) -> None:
    out = tmp_path / "told"
    program = [sys.executable, "-c", "import sys; open(sys.argv[1], 'w').write(sys.stdin.read())", str(out)]
    error = f"$(touch {tmp_path}/planted) `touch {tmp_path}/planted` ; touch {tmp_path}/planted {EVIL}"
    hooks = tell(schedule(tmp_path, on_failure_command=program), {"schedule": "x", "state": "failed", "error": error})
    assert hooks == {"command": "ok"}
    assert json.loads(out.read_text())["error"] == error
    assert not (tmp_path / "planted").exists()


def test_a_log_line_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    told = f"x\n2026-01-01 00:00:00Z ended schedule=forged {EVIL}"
    text_log("ended", schedule="x", error=told)
    json_log("ended", schedule="x", error=told)
    plain, machine = capfd.readouterr().err.splitlines()
    assert not STEERS.search(plain)
    assert json.loads(machine)["error"] == told


def test_a_label_cannot_make_another_metric() -> None:
    from prometheus_client import generate_latest
    from prometheus_client.parser import text_string_to_metric_families

    metrics = Metrics()
    state = 'done"} 1\nevil_total{a="b'
    run = ScheduledRun("id", "nightly", "done", "2026-01-01T00:00:00+00:00", ended="2026-01-01T00:00:00+00:00")
    run.summary = {"states": {"clip": {state: 1}}, "funnel": [{"name": state, "hours": 1.0}]}
    metrics.ended(run)
    families = {family.name for family in text_string_to_metric_families(generate_latest(metrics.registry).decode())}
    assert families
    assert all(name.startswith("longtake_") for name in families)


# -- rules ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "column", ['clips.a"; drop table clips; --', "clips.a) or 1=1", "clips.a\n", "x", "a.b.c", "A.b"]
)
@pytest.mark.parametrize("field", ["column", "per", "best"])
def test_a_column_is_a_name(column: str, field: str) -> None:
    given = {"column": {"column": column, "min": 0}, "per": {"at_most": 1, "best": "a.b", "per": column}}
    with pytest.raises(ValueError, match="pattern"):
        Rule.model_validate(given.get(field, {"at_most": 1, "best": column}))
