"""A dataset on a server that speaks as the Hub does: sent once, committed whole, changed by differences, resumed."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from hub_server import TOKEN, serving
from huggingface_hub import constants
from made_dataset import made_dataset
from typer import Typer
from typer.testing import CliRunner

from curate.dataset import Dataset
from pipelines.push import command as verb
from pipelines.push import hub as hub_client

app = Typer()
app.command()(verb.push)

# huggingface_hub sends files as its client's older way was.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

NAME = "org/takes"
TARGET = f"hf://datasets/{NAME}"


@pytest.fixture
def hub():
    with serving() as hub:
        yield hub


@pytest.fixture
def made(tmp_path):
    return made_dataset(tmp_path / "dataset", clips=6)


def command(*words):
    return [sys.executable, "-m", "curate.cli", "push", *map(str, words), "--license", "cc-by-4.0"]


def environment(hub, tmp_path):
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("HF_")},
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",  # the server has LFS, as the Hub has for clients without hf_xet
    }


@pytest.fixture
def push(hub, tmp_path, monkeypatch):
    """`curate push` in this process, against the server."""
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(hub_client, "WAIT_S", 0.1)

    def push(*words, status=0, token=TOKEN):
        monkeypatch.setenv("HF_TOKEN", token)
        done = CliRunner().invoke(app, [*map(str, words), "--license", "cc-by-4.0"])
        assert done.exit_code == status, (done.output, done.exception)
        assert TOKEN not in done.output
        return json.loads(done.stdout) if "--json" in words else done.output

    return push


def test_a_dataset_is_one_commit_and_a_second_push_moves_what_has_changed(hub, push, made, tmp_path):
    # A busy server, a commit of which the answer is lost, and one that is refused for a while.
    hub.failing = {
        "PUT /lfs": iter([500]),
        "POST .*/preupload": iter([429]),
        "POST .*/commit": iter([503]),
        "POST .*/batch": iter([500]),
    }
    told = push(made, TARGET, "--private", "--json")
    repository = hub.repositories[NAME]
    assert repository.private
    assert len(repository.commits) == 2  # the Hub's own, and this
    assert set(repository.tree) == {*told["uploaded"], ".gitattributes"}
    shard = "shards/train/000000.tar"
    assert hub.content(NAME, shard) == (made / shard).read_bytes()
    assert repository.tree[shard].lfs
    assert max(hub.sent.values()) == 1
    again = push(made, TARGET, "--json")
    assert (again["uploaded"], again["deleted"]) == ([], [])
    assert len(repository.commits) == 2
    # What somebody adds by hand stays: a file, and what stands below the page's last line.
    page = hub.content(NAME, "README.md")
    tree = dict(repository.tree)
    key = "f" * 64
    hub.blobs[key] = page + b"My own words.\n"
    tree["README.md"], tree["notes.txt"] = type(tree["README.md"])(key, False), tree[".gitattributes"]
    hub.commit(NAME, "by hand", tree)
    fewer = made_dataset(tmp_path / "fewer", clips=4)
    changed = push(fewer, TARGET, "--json", "--message", "two are gone")
    assert len(repository.commits) == 4
    assert repository.commits[-1][1] == "two are gone"
    assert changed["deleted"] == ["shards/train/000002.tar"]
    assert "shards/train/000000.tar" not in changed["uploaded"]
    assert "notes.txt" in repository.tree
    assert hub.content(NAME, "README.md").decode().endswith("My own words.\n")
    assert b"4 clips" in hub.content(NAME, "README.md")
    squashed = push(fewer, TARGET, "--squash", "--json")
    assert len(repository.commits) == 1
    assert squashed["squashed_files"] == 5  # both Parquet files and three tars that were
    assert all(blob.sha256 in hub.blobs for blob in repository.tree.values())


def test_a_killed_push_goes_on_and_sends_nothing_twice(hub, push, tmp_path):
    made = made_dataset(tmp_path / "dataset", clips=120)  # sixty shards: more than go at once
    hub.failing = {"PUT /lfs": itertools.chain(itertools.repeat(0, 55), itertools.repeat(500))}
    first = subprocess.Popen(command(made, TARGET), env=environment(hub, tmp_path), stderr=subprocess.DEVNULL)
    while len(hub.sent) < 55:
        assert first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert len(hub.repositories[NAME].commits) == 1
    hub.failing = {}
    told = push(made, TARGET, "--json")
    assert len(hub.repositories[NAME].commits) == 2
    assert len(told["uploaded"]) == 66
    assert max(hub.sent.values()) == 1


def test_what_the_hub_refuses_is_said_plainly(hub, push, made, tmp_path):
    assert "logged in" in push(made, TARGET, status=1, token="")
    assert "log in with a token" in push(made, TARGET, status=1, token=TOKEN[:-1])
    assert "hf://datasets/ORG/NAME" in push(made, "hf://org/takes", status=1)
    push(made, TARGET)
    assert "public" in push(made, TARGET, "--private", status=1)
    gone = shutil.copytree(made, tmp_path / "gone")
    Dataset(str(gone)).write("shards/train/000000.tar", b"x" * (made / "shards/train/000000.tar").stat().st_size)
    refused = push(gone, "hf://datasets/org/other", status=1)
    assert "shards/train/000000.tar is not what its table says" in refused
