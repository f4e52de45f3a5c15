"""A model's captions end to end: real footage, a real model or server, shards; killed in the middle and repeated."""

import csv
import html
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pyarrow.compute as pc
import pytest
import tiny_vlm
from typer.testing import CliRunner

from curate.commands.run import run as curate_run
from curate.dataset import Dataset
from schemas import captions, ledger
from stages.caption.command import caption
from tests.curate.engine import curate
from tests.curate.excerpts import excerpt
from tests.stages.verbs import typed

HERE = Path(__file__).parent
ANSWER = (
    '{"text": "A person moves about in front of some wall.", "raw": "One man moved.", "prompt": "Somebody inside", '
    '"short": "He stands."}'
)
CONCURRENCY = 4
RECIPE = str(HERE / "captioned.yaml")


def command(inputs, output, *settings):
    sets = [part for setting in settings for part in ("--set", setting)]
    line = [sys.executable, "-m", "curate.cli", "run", RECIPE, "-o", str(output), "--workers", "1"]
    return [*line, "-i", str(inputs), *sets]


@pytest.fixture(scope="module")
def run(scheduler):
    """`curate run` on the tests' cluster."""

    def run(inputs, output, *settings):
        assert curate([inputs], output, scheduler, settings, recipe=RECIPE).failed == 0

    return run


def told(output):
    rows = Dataset(str(output)).scan(captions.TABLE).to_table().to_pylist()
    return sorted(rows, key=lambda row: row["node_id"])


@pytest.fixture(scope="module")
def decoded(footage, run, tmp_path_factory):
    """(source, dataset) of ten seconds of a take captioned without a model: all but the captions is done."""
    folder = tmp_path_factory.mktemp("in")
    excerpt(footage / "footage/takes/dj2.mp4", folder / "dj2.mp4", 10)
    output = tmp_path_factory.mktemp("out") / "dataset"
    run(folder, output)
    return folder, output


@pytest.fixture
def dataset(decoded, tmp_path):
    return shutil.copytree(decoded[1], tmp_path / "dataset")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["transformers", "openai"])
def test_a_models_captions_end_up_in_shards(backend, run, decoded, dataset, tmp_path):
    model = tiny_vlm.save(tmp_path / "tiny", answer=ANSWER)
    if backend == "transformers":
        run(decoded[0], dataset, "caption.backend=transformers", f"caption.transformers.weights={model}")
    else:
        with tiny_vlm.served(model, tmp_path / "log") as url:
            run(
                decoded[0],
                dataset,
                "caption.backend=openai",
                f"caption.openai.url={url}",
                f"caption.openai.model={model}",
            )
    rows = told(dataset)
    assert {row["level"] for row in rows} == {"clip", "shot", "event", "story"}
    assert {row["text"] for row in rows} == {"A person moves about in front of some wall."}
    assert all(row["model"].startswith(f"{backend}:") and row["attempts"] >= 1 and row["flags"] == [] for row in rows)
    assert all(row["looks_s"] for row in rows if row["level"] == "clip")
    (path,) = dataset.glob("shards/train/*.tar")
    with tarfile.open(path) as tar:
        members = {member.name.split(".", 1)[1]: tar.extractfile(member).read() for member in tar}
    assert members["txt"].decode() == "A person moves about in front of some wall."
    sample = json.loads(members["json"])
    assert Counter(node["level"] for node in sample["captions"])["shot"] == 1
    assert {node["prompt"] for node in sample["captions"]} == {"Somebody inside"}


@pytest.mark.slow
def test_a_model_that_writes_garbage_is_marked_and_kept_out_of_shards(run, decoded, dataset, tmp_path):
    model = tiny_vlm.save(tmp_path / "tiny")
    sets = ["caption.backend=transformers", f"caption.transformers.weights={model}", "caption.reply_tokens=16"]
    run(decoded[0], dataset, *sets, "caption.asks=1")
    assert all(row["flags"] for row in told(dataset))
    assert not list(dataset.glob("shards/*/*.tar"))
    (row,) = Dataset(str(dataset)).scan(ledger.TABLE).to_table(filter=pc.field("kind") == "clip").to_pylist()
    assert (row["state"], row["stage"]) == ("rejected", "caption")
    assert row["reason"].startswith("no caption of it may be used: 0.0 s to ")
    steps = json.loads((dataset / "summary.json").read_text())["funnel"]
    assert [(step["name"], step["count"]) for step in steps[-2:]] == [("captions usable", 0), ("kept", 0)]


def said(*words):
    """What a subcommand of `curate caption` prints as JSON."""
    done = CliRunner().invoke(caption, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_captions_are_measured_judged_by_people_and_their_writer_tuned(decoded, tmp_path):
    rows = told(decoded[1])
    reference = tmp_path / "reference.csv"
    shots = [row for row in rows if row["level"] == "shot"]
    lines = [f'{decoded[0]}/dj2.mp4,{row["start_s"]},{row["end_s"]},"{row["text"]}"\n' for row in shots]
    reference.write_text("path,start_s,end_s,text\n" + "".join(lines))
    heard = {"dj2": {"characters": ["Ann"], "utterances": [{"start": 1, "end": 2, "character": "Ann", "text": "So."}]}}
    (tmp_path / "heard.json").write_text(json.dumps(heard))
    answered = tmp_path / "eval"
    found = said(
        *("eval", decoded[1], "--json", "--ask", "-o", answered),
        *("--reference", reference, "--dialogue", tmp_path / "heard.json"),
    )
    assert found["levels"]["shot"]["nodes"] == len(shots)
    assert found["reference"]["soda_c"]["f1"] == pytest.approx(1, abs=0.01)
    assert (found["dialogue"]["names"]["right"], found["dialogue"]["names"]["of"]) == (0, 1)
    asked = [json.loads(line) for line in (answered / "questions.jsonl").read_text().splitlines()]
    assert len(asked) == found["questions"]["made"] > 0

    sheet = said("audit", decoded[1], "-o", tmp_path / "sheet", "--n", 3, "--json")
    page, filled = (Path(sheet[name]) for name in ("page", "csv"))
    assert html.escape(rows[0]["text"]) in page.read_text() or sheet["captions"] < len(rows)
    with filled.open(newline="") as file:
        judged = list(csv.DictReader(file))
    for number, row in enumerate(judged):
        row["verdict"] = "true" if number else "false"
    with filled.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(judged[0]))
        writer.writeheader()
        writer.writerows(judged)
    judgement = said("audit", decoded[1], "--read", filled, "--json")["true"]
    assert (judgement["right"], judgement["of"]) == (len(judged) - 1, len(judged))

    model = tiny_vlm.save(tmp_path / "tiny", answer=ANSWER)
    sets = ("--set", "caption.backend=transformers", "--set", f"caption.transformers.weights={model}")
    history = tmp_path / "tune.jsonl"
    best = said("tune", decoded[1], *sets, "--rounds", 2, "--n", 2, "--history", history, "--json")
    rounds = [json.loads(line) for line in history.read_text().splitlines()]
    assert best["score"] == max(row["score"] for row in rounds)
    flag, setting = shlex.split(best["set"])
    assert (flag, setting.partition("=")[0]) == ("--set", "caption.instruction")


def test_a_model_without_pictures_is_refused_before_anything_runs(decoded, tmp_path):
    recipe = tmp_path / "blind.yaml"
    recipe.write_text(Path(RECIPE).read_text().replace("  stills: {}\n", ""))
    output = tmp_path / "out"
    result = typed(curate_run, recipe, "-i", decoded[0], "-o", output, "--set", "caption.backend=openai")
    assert result.exit_code == 2
    assert "add the stage 'stills'" in result.stderr
    assert not output.exists()


@contextmanager
def answering(port, log, delay_s):
    """A server that answers every question with a caption of its own."""
    line = [sys.executable, str(HERE / "hostile_server.py"), str(port), str(log), str(delay_s)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def counted(log, what):
    lines = log.read_text().split("\n") if log.exists() else []
    return Counter(line.split()[1] for line in lines if line.startswith(what))


def until(there, seconds=60):
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_run_killed_between_answers_loses_none_and_asks_none_again(run, decoded, dataset, port, tmp_path):
    sets = ["caption.backend=openai", f"caption.openai.url=http://127.0.0.1:{port}/v1", "caption.openai.model=m"]
    sets += [
        f"caption.openai.concurrency={CONCURRENCY}",
        "tree.clip.most_s=3",
        "tree.clip.least_s=0.5",
        "tree.clip.aim_s=1",
    ]
    whole = shutil.copytree(dataset, tmp_path / "undisturbed")
    with answering(port, tmp_path / "quiet", 0.0):
        run(decoded[0], whole, *sets)
    log = tmp_path / "log"
    with answering(port, log, 0.5):
        killed = subprocess.Popen(
            command(decoded[0], dataset, *sets), start_new_session=True, stderr=subprocess.DEVNULL
        )
        until(lambda: sum(counted(log, "answered").values()) >= 5)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
    before = counted(log, "answered")
    assert told(dataset) != told(whole)
    # The server is gone for a while, too: what it does not answer is waited for.
    with ThreadPoolExecutor(1) as pool, answering(port, log, 0.1) as server:
        again = pool.submit(run, decoded[0], dataset, *sets)
        until(lambda: sum(counted(log, "answered").values()) > sum(before.values()) + 2)
        server.kill()
        server.wait()
        with answering(port, log, 0.0):
            again.result()
    assert told(dataset) == told(whole)
    twice = [ident for ident, count in counted(log, "answered").items() if count > 1]
    assert len(twice) <= 2 * CONCURRENCY  # those on their way when a process was killed
    asked = sum(counted(log, "asked").values())
    run(decoded[0], dataset, *sets)
    assert sum(counted(log, "asked").values()) == asked
