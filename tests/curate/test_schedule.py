"""Schedules: what is due starts once, never beside itself, and what came of it is remembered and told."""

import configparser
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml
from excerpts import excerpt
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner
from verbs import command

from curate.schedule.command import schedule
from curate.schedule.metrics import Metrics
from curate.schedule.serve import Server
from curate.schedule.store import Schedule, ScheduleError, Store

RECIPE = "name: quick\nstages: {signals: {}, cuts: {}, takes: {min_s: 1}}\n"


@pytest.fixture
def folder(footage, tmp_path, monkeypatch):
    monkeypatch.setenv("LONGTAKE_SCHEDULES", str(tmp_path / "schedules"))
    (tmp_path / "in").mkdir()
    excerpt(footage / "footage/takes/yoga.mp4", tmp_path / "in/yoga.mp4", 2)
    (tmp_path / "quick.yaml").write_text(RECIPE)
    return tmp_path


def cli(*words):
    return command("schedule", *words)


def planned(folder, **more):
    values = {
        "name": "nightly",
        "recipe": str(folder / "quick.yaml"),
        "inputs": [str(folder / "in")],
        "output": str(folder / "out"),
        "cron": "0 2 * * *",
        "timezone": "UTC",
        "created": datetime(2026, 1, 1, tzinfo=UTC),
        "workers": 1,
    }
    return Schedule(**(values | more))


class Clock:
    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


def served(store, clock, metrics=None):
    events = []
    server = Server(store, 1, lambda event, **facts: events.append((event, facts)), metrics or Metrics(), clock)
    return server, events


def until(condition, seconds=120):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.1)


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),
    st.sampled_from(["30 2 * * *", "0 * * * 0", "*/7 1 1 * *"]),
)
def test_due_comes_after_and_at_the_hour_of_its_zone(moment, cron):
    moment = moment.replace(tzinfo=UTC)
    due = Schedule.model_construct(cron=cron, timezone="Europe/Berlin").due_after(moment)
    assert due > moment
    assert Schedule.model_construct(cron=cron, timezone="Europe/Berlin").due_before(due) == due
    here = due.astimezone(ZoneInfo("Europe/Berlin"))
    if cron.startswith("30 2"):  # at the spring change there is no half past two: it comes right after the gap
        assert (here.hour, here.minute) in {(2, 30), (3, 0), (3, 30)}
    if cron.endswith("0"):
        assert here.isoweekday() == 7


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--cron", "61 * * * *"], "no cron expression"),
        (["--cron", "0 2 30 2 *"], "no cron expression that ever comes"),
        (["--cron", "0 2 * * *", "--timezone", "Mars/Olympus"], "no time zone"),
        (["--cron", "0 2 * * *", "--webhook", "file:///etc/passwd"], "no http(s) address"),
        (["--cron", "0 2 * * *", "--set", "takes.min_z=1"], "min_z"),
    ],
)
def test_a_mistake_is_told_when_it_is_made(folder, words, told):
    what = ("add", "nightly", folder / "quick.yaml", "-i", folder / "in", "-o", folder / "out", *words)
    refused = CliRunner().invoke(schedule, [str(word) for word in what])
    assert refused.exit_code == 2
    assert told in refused.stderr
    assert Store().names() == []


def test_added_listed_and_removed(folder, monkeypatch):
    monkeypatch.chdir(folder)
    words = ("nightly", "quick.yaml", "-i", "in", "-o", "out", "--cron", "0 2 * * *", "--timezone", "Asia/Tokyo")
    assert cli("add", *words).returncode == 0
    again = cli("add", *words)
    assert again.returncode == 2
    assert "there is a schedule 'nightly'" in again.stderr
    (listed,) = json.loads(cli("list", "--json").stdout)
    assert listed["recipe"] == str(folder / "quick.yaml")
    assert listed["inputs"] == [str(folder / "in")]
    assert datetime.fromisoformat(listed["next"]).hour == 17
    assert cli("remove", "nightly").returncode == 0
    assert cli("remove", "nightly").returncode == 2
    assert cli("run-now", "../nightly").returncode == 2
    assert "make" in cli("list").stdout


def test_run_now_does_only_what_is_new_and_is_remembered(folder, scheduler):
    Store().add(planned(folder, workers=None, scheduler=scheduler))
    first = json.loads(cli("run-now", "nightly", "--json").stdout)
    assert (first["state"], first["summary"]["states"]["source"]["kept"]) == ("done", 1)
    assert first["summary"]["tasks"] > 0
    second = cli("run-now", "nightly")
    assert second.returncode == 0
    assert "Nothing to do" not in second.stdout
    (folder / "quick.yaml").write_text("name: quick\nstages: {sagnals: {}}\n")
    third = cli("run-now", "nightly")
    assert third.returncode == 1
    assert "sagnals" in third.stderr
    rows = json.loads(cli("history", "nightly", "--json").stdout)
    assert [row["state"] for row in rows] == ["done", "done", "failed"]
    assert rows[1]["summary"]["tasks"] == 0
    assert "sagnals" in rows[2]["error"]
    assert "sagnals" in Path(rows[2]["log"]).read_text()
    shown = cli("history", "nightly")
    assert "failed" in shown.stdout


def test_what_is_due_starts_once_and_never_beside_itself(folder, scheduler):
    store, metrics = Store(), Metrics()
    store.add(planned(folder, workers=None, scheduler=scheduler))
    clock = Clock(datetime(2026, 1, 4, 12, tzinfo=UTC))
    server, events = served(store, clock, metrics)
    server.look()  # three nights were missed: they are caught up with once
    until(lambda: store.running("nightly"))
    clock.now += timedelta(days=1)
    server.look()
    server.look()
    until(lambda: not store.running("nightly") and "ended" in [event for event, _ in events])
    clock.now += timedelta(hours=1)
    server.look()
    assert [event for event, _ in events] == ["started", "skipped", "ended"]
    rows = store.history("nightly")
    assert sorted(row["state"] for row in rows) == ["done", "skipped"]
    assert {row["due"] for row in rows} == {"2026-01-04T02:00:00+00:00", "2026-01-05T02:00:00+00:00"}
    # Whoever serves next knows what has been done.
    after, later = served(store, clock)
    after.look()
    assert later == []
    value = metrics.registry.get_sample_value
    assert value("longtake_runs_total", {"schedule": "nightly", "state": "done"}) == 1
    assert value("longtake_runs_total", {"schedule": "nightly", "state": "skipped"}) == 1
    assert value("longtake_running", {"schedule": "nightly"}) == 0


def test_a_clock_set_back_runs_nothing_twice(folder):
    store = Store()
    store.add(planned(folder, recipe="no such recipe"))
    clock = Clock(datetime(2026, 1, 2, 3, tzinfo=UTC))
    server, events = served(store, clock)
    server.look()
    until(lambda: "ended" in [event for event, _ in events])
    clock.now -= timedelta(hours=1, minutes=30)
    server.look()
    clock.now += timedelta(hours=1)
    server.look()
    assert len(store.history("nightly")) == 1
    clock.now = datetime(2025, 1, 1, tzinfo=UTC)  # it was wrong before: wait from here on
    server.look()
    clock.now = datetime(2025, 1, 1, 2, 1, tzinfo=UTC)
    server.look()
    until(lambda: len(store.history("nightly")) == 2)


def test_an_edited_file_that_is_wrong_is_named_and_stops_no_other(folder):
    store = Store()
    path = store.add(planned(folder))
    path.write_text(path.read_text().replace("0 2 * * *", "often"))
    server, events = served(store, Clock(datetime(2026, 1, 4, tzinfo=UTC)))
    server.look()
    server.look()
    assert [event for event, _ in events] == ["unusable"]
    assert "often" in events[0][1]["error"]
    with pytest.raises(ScheduleError, match="often"):
        store.get("nightly")


class Answers(http.server.BaseHTTPRequestHandler):
    codes: list[int]
    heard: list[dict]

    def do_POST(self):
        self.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.codes.pop(0))
        self.end_headers()

    def log_message(self, *_):
        pass


def test_a_failure_is_told_to_a_program_and_a_web_hook(folder):
    handler = type("Handler", (Answers,), {"codes": [503, 200], "heard": []})
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        told = folder / "told.json"
        program = [sys.executable, "-c", f"import sys; open({str(told)!r}, 'w').write(sys.stdin.read())"]
        hook = f"http://127.0.0.1:{web.server_port}/?secret=abc"
        Store().add(planned(folder, recipe="gone.yaml", on_failure_command=program, on_failure_webhook=hook))
        assert cli("run-now", "nightly").returncode == 1
        web.shutdown()
    assert json.loads(told.read_text())["state"] == "failed"
    assert [body["schedule"] for body in handler.heard] == ["nightly", "nightly"]
    assert "gone.yaml" in handler.heard[0]["text"]
    (row,) = Store().history("nightly")
    assert row["hooks"] == {"command": "ok", "webhook": "ok"}
    assert "abc" not in json.dumps(row)


def test_a_run_that_takes_too_long_is_stopped(folder):
    Store().add(planned(folder, longest_h=0.0001))
    ended = cli("run-now", "nightly")
    assert ended.returncode == 1
    assert "timed out" in ended.stdout


def serving(*words):
    line = [sys.executable, "-m", "curate.cli", "schedule", "serve", "--log-format", "json", *words]
    return subprocess.Popen(line, stderr=subprocess.PIPE, text=True)


def test_a_server_that_is_stopped_stops_its_run_and_one_that_is_killed_leaves_the_lock_to_it(folder):
    store = Store()
    store.add(planned(folder, created=datetime.now(UTC) - timedelta(days=2)))
    with serving() as server:
        until(lambda: store.running("nightly"))
        server.send_signal(signal.SIGTERM)
        assert server.wait(90) == 0
        events = [json.loads(line)["event"] for line in server.stderr]
    assert events == ["serving", "started", "ended", "stopped"]
    assert [row["state"] for row in store.history("nightly")] == ["stopped"]

    store.remove("nightly")
    store.add(planned(folder, name="other", created=datetime.now(UTC) - timedelta(days=2)))
    with serving() as server:
        until(lambda: store.running("other"))
        time.sleep(1)
        server.kill()
        server.wait()
    held = cli("run-now", "other")
    assert held.returncode == 2
    assert "still under way" in held.stderr
    until(lambda: not store.running("other"))
    assert [row["state"] for row in store.history("other")] == ["killed"]
    assert cli("run-now", "other").returncode == 0  # what the orphan did is not done again


def test_metrics_are_offered(folder, free_port):
    Store().add(planned(folder, created=datetime.now(UTC)))
    with serving("--metrics-port", str(free_port)) as server:
        found = ""

        def scraped():
            nonlocal found
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/metrics", timeout=5) as answer:
                    found = answer.read().decode()
            except OSError:
                return False
            return "longtake_next_run_timestamp_seconds{" in found

        until(scraped)
        server.terminate()
        assert server.wait(30) == 0
        server.stderr.close()
    due = float(next(line for line in found.splitlines() if line.startswith("longtake_next_run")).split()[-1])
    assert 0 < due - time.time() <= 86400


@pytest.fixture
def free_port():
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_units_for_other_schedulers(folder):
    store = Store()
    store.add(planned(folder, overrides=["takes.min_s=2"], longest_h=6))
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str
    unit.read_string(cli("export", "--as", "systemd").stdout)
    assert '"schedule" "serve"' in unit["Service"]["ExecStart"]
    assert str(store.folder) in unit["Service"]["Environment"]
    assert cli("export", "nightly", "--as", "kubernetes").returncode == 2
    words = ("export", "nightly", "--as", "kubernetes", "--image", "registry/longtake:1", "--claim", "footage")
    job = yaml.safe_load(cli(*words).stdout)
    assert (job["kind"], job["spec"]["schedule"], job["spec"]["concurrencyPolicy"]) == (
        "CronJob",
        "0 2 * * *",
        "Forbid",
    )
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["command"] == ["curate", *store.get("nightly").command()]
    assert str(folder).startswith(pod["containers"][0]["volumeMounts"][0]["mountPath"])
    assert os.path.isabs(pod["containers"][0]["volumeMounts"][0]["mountPath"])
