"""`curate select`: deciding anew gives what a run from scratch gives, and a dry run changes nothing."""

import fcntl
import json
import shutil

import pytest
from engine import curate, fingerprint, parts
from excerpts import excerpt
from verbs import command

from curate.dataset import Dataset, to_arrow
from curate.redecide import outstanding
from schemas import decisions, tree

MEDIA = {"pancake.mkv": 7, "yoga.mp4": 6.5}
"""Takes, and how many seconds of each."""
SETTINGS = ["takes.min_s=5", "screen.rules={long: {column: clips.duration_s, min: 6}}", "clips.preset=ultrafast"]
MOVING = "select.rules={moving: {column: motion.mean_w_s, min: 0.005}}"


def select(dataset, *sets, dry=False):
    words = [word for value in sets for word in ("--set", value)]
    done = command("select", dataset, *words, "--json", *(["--dry-run"] if dry else []))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def sources(footage, tmp_path_factory):
    folder = tmp_path_factory.mktemp("in")
    for name, seconds in MEDIA.items():
        excerpt(footage / "footage/takes" / name, folder / name, seconds)
    return folder


@pytest.fixture(scope="module")
def run_once(sources, scheduler, tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "dataset"
    curate([sources], output, scheduler, [*SETTINGS, MOVING])
    return output


@pytest.fixture
def dataset(run_once, tmp_path):
    """A copy to decide over."""
    return shutil.copytree(run_once, tmp_path / "dataset")


DECIDED = ("decisions", "screening", "ledger")


def decided(folder):
    files = fingerprint(folder)
    mine = {name: value for name, value in files.items() if name.split("/")[1:2] and name.split("/")[1] in DECIDED}
    return mine | {name: files[name] for name in ("recipe.yaml", "summary.json")}


def test_a_dry_run_shows_the_funnel_and_changes_nothing(dataset):
    before = fingerprint(dataset)
    told = select(dataset, "select.rules.moving.min=0.001", dry=True)
    assert not told["written"]
    assert [told[when][-1]["count"] for when in ("before", "after")] == [1, 2]
    assert told["come_in"]["clips"] == 1
    assert told["come_in"]["listed"][0]["path"].endswith("yoga.mp4")
    assert told["go_out"]["clips"] == 0
    assert {"stage": "clips", "clips": 1} in told["to_do"]
    assert fingerprint(dataset) == before
    shown = command("select", dataset, "--set", "select.rules.moving.min=0.001", "--dry-run").stdout
    assert "1 clips" in shown
    assert "Nothing was written" in shown


@pytest.mark.parametrize(
    "override",
    ["select.rules.moving.min=0.001", "select.rules.moving.min=9", "screen.rules.long.min=6.8", "select.rules={}"],
)
def test_deciding_anew_is_the_same_as_running_from_scratch(dataset, sources, scheduler, tmp_path, override):
    told = select(dataset, override)
    assert told["written"]
    scratch = tmp_path / "scratch"
    curate([sources], scratch, scheduler, [*SETTINGS, MOVING, override])
    assert decided(dataset) == decided(scratch)
    curate([], dataset, scheduler, [*SETTINGS, MOVING, override])
    assert fingerprint(dataset) == fingerprint(scratch)
    assert json.loads(command("status", dataset, "--json").stdout)["to_do"] == []


def test_a_rejected_take_in_the_tree_of_a_kept_source_is_nothing_to_do(dataset):
    place = Dataset(str(dataset))
    out = next(row for row in place.scan(decisions.TABLE).to_table().to_pylist() if not row["kept"])
    key = next(key for key in place.keys("tree") if place.read_part(tree.TABLE, key).num_rows)
    nodes = place.read_part(tree.TABLE, key).to_pylist()
    for kept, work in ((False, []), (True, ["tree", "caption", "pack", "shard", "index"])):
        other = nodes[-1] | {"node_id": "other", "clip_id": out["clip_id"], "kept": kept}
        place.write_part(tree.TABLE, key, to_arrow(tree.TABLE, [*nodes, other]), {})
        assert [todo["stage"] for todo in outstanding(place)] == work


def test_the_dataset_is_consistent_at_once_and_says_what_is_to_do(dataset):
    told = select(dataset, "select.rules.moving.min=9")
    assert told["next"] == ["curate", "run", f"{dataset}/recipe.yaml", "-o", str(dataset)]
    status = json.loads(command("status", dataset, "--json").stdout)
    assert status["states"]["clip"] == {"kept": 0, "rejected": 2, "failed": 0}
    assert [work["stage"] for work in status["to_do"]] == ["tree", "caption", "clips", "pack", "shard", "index"]
    told = json.loads(command("explain", dataset, "pancake.mkv@3", "--json").stdout)
    assert told["ledger"]["state"] == "rejected"
    assert [r["rule"] for r in told["rules"] if not r["passed"]] == ["moving"]
    assert command("report", dataset).returncode == 0
    again = select(dataset)
    assert (again["come_in"]["clips"], again["go_out"]["clips"]) == (0, 0)


def test_deciding_the_same_again_rewrites_nothing(dataset):
    before = parts(dataset)
    told = select(dataset)
    assert parts(dataset) == before
    assert told["to_do"] == []


@pytest.mark.parametrize(
    ("override", "status", "says"),
    [
        ("takes.min_s=3", 2, "curate select changes only screen and select; 'takes' takes curate run"),
        ("select.rules.moving.mim=3", 2, "unknown parameter"),
        ("select.rules.moving.column=text.area_share", 2, "no stage of this recipe writes the table 'text'"),
        ("select.rules.moving.min=fast", 2, "valid number"),
        ("select.rules.x y={column: clips.duration_s, min: 1}", 2, "letters, digits and underscores"),
        ("selct.rules={}", 2, "no stage 'selct'"),
        ("select.rules", 2, "stage.parameter=value"),
    ],
)
def test_wrong_overrides_are_refused_and_nothing_is_written(dataset, override, status, says):
    before = fingerprint(dataset)
    done = command("select", dataset, "--set", override)
    assert done.returncode == status
    assert says in done.stderr.replace("\n", " ")
    assert fingerprint(dataset) == before


def test_a_dataset_that_is_being_written_is_left_alone(dataset):
    with open(dataset / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = command("select", dataset, "--set", "select.rules={}")
        assert done.returncode == 1
        assert "another run is writing" in done.stderr
        assert select(dataset, "select.rules={}", dry=True)["after"][-1]["count"] == 2


def test_an_unfinished_dataset_is_told_with_its_cure(dataset):
    text = (dataset / "recipe.yaml").read_text()
    (dataset / "recipe.yaml").write_text(text.replace("min: 0.005", "min: 0.007"))
    done = command("select", dataset)
    assert done.returncode == 1
    assert "finish it first: curate run" in done.stderr
    (dataset / "recipe.yaml").write_text(text)
    (dataset / "summary.json").unlink()
    assert "its run did not finish" in command("select", dataset).stderr
