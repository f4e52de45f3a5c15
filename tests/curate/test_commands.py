"""The verbs that look at a dataset, as a user types them."""

import json

import pytest
from engine import curate, rows
from excerpts import excerpt
from verbs import command

from curate import hosts
from schemas import ledger, shards


@pytest.fixture(scope="module")
def dataset(footage, scheduler, tmp_path_factory):
    """One take that is kept, one that is not, and a file that is no video and has a hostile name."""
    folder = tmp_path_factory.mktemp("in")
    for name in ("pancake.mkv", "yoga.mp4"):
        excerpt(footage / "footage/takes" / name, folder / name, 6)
    (folder / "<script>alert(1)<!--\x1b[31m.mp4").write_text("no video")
    output = tmp_path_factory.mktemp("out") / "dataset"
    rules = [
        "takes.min_s=5",
        "screen.rules={}",
        "select.rules={moving: {column: motion.mean_w_s, min: 0.01}}",
        "clips.preset=ultrafast",
    ]
    curate([folder], output, scheduler, rules)
    return output


def clip(dataset, state):
    return next(r["clip_id"] for r in rows(dataset, ledger.TABLE) if r["kind"] == "clip" and r["state"] == state)


def test_status_counts_states_and_tells_errors(dataset):
    told = json.loads(command("status", dataset, "--json").stdout)
    assert told["complete"]
    assert told["states"]["source"] == {"kept": 1, "rejected": 1, "failed": 1}
    assert [error["stage"] for error in told["errors"]] == ["probe"]
    shown = command("status", dataset).stdout
    assert "no readable" in " ".join(shown.split())
    assert "\x1b[31m" not in shown


def test_explain_says_in_or_out_with_every_number(dataset):
    kept = json.loads(command("explain", dataset, clip(dataset, "kept"), "--json").stdout)
    assert kept["ledger"]["state"] == "kept"
    assert {"clips", "motion", "quality", "decisions", "captions", "media"} <= set(kept["tables"])
    out = command("explain", dataset, clip(dataset, "rejected")).stdout
    assert "is rejected" in out
    assert "moving: motion.mean_w_s = " in out
    assert "sharpness = " in out


def test_explain_wants_one_clip(dataset):
    assert command("explain", dataset, "nonsense").returncode == 2
    assert "names 0 clips" in command("explain", dataset, "nonsense").stderr


def test_explain_takes_a_source_and_a_time_and_says_how_far_each_rule_was_missed(dataset):
    told = json.loads(command("explain", dataset, "yoga.mp4@4", "--json").stdout)
    assert told["ledger"]["clip_id"] == clip(dataset, "rejected")
    (rule,) = told["rules"]
    (check,) = rule["checks"]
    assert (rule["rule"], rule["passed"], check["passed"]) == ("moving", False, False)
    assert check["missed_by"] == pytest.approx(0.01 - check["value"])
    assert (check["percentile"], check["measured"]) == (0.0, 2)
    assert "confidence" in told["certificate"]
    shown = command("explain", dataset, "yoga.mp4@4").stdout
    assert "OUT  select.moving: motion.mean_w_s = " in shown
    assert "wants ≥ 0.01, missed by " in shown
    assert "0 % of 2 clips have less" in shown
    for words, says in ((["yoga.mp4@900"], "names 0 clips"), (["yoga.mp4@soon"], "a time in seconds")):
        done = command("explain", dataset, *words)
        assert done.returncode == 2
        assert says in done.stderr


def test_recipes_show_each_threshold_with_its_reason_and_operating_point(tmp_path):
    shown = command("recipes", "show", "long_take").stdout
    assert "select.moving: motion.mean_w_s ≥ 0.003" in shown
    assert "why: LVD-2M asks for 0.042" in shown
    recipe = tmp_path / "mine.yaml"
    point = "{precision: 0.98, recall: 0.955, on: planted blur}"
    recipe.write_text(
        "name: mine\nstages: {signals: {}, cuts: {}, takes: {}, select: {rules: {"
        f"long: {{column: clips.duration_s, min: 5, operating_point: {point}}},"
        "few: {at_most: 3, per: clips.source_id, best: clips.duration_s}}}}"
    )
    shown = command("recipes", "show", recipe).stdout
    assert "precision 0.980, recall 0.955 on planted blur" in shown
    assert "at most 3 clips per clips.source_id, highest clips.duration_s first" in shown
    told = json.loads(command("recipes", "show", recipe, "--json").stdout)
    assert told["rules"][0]["operating_point"] == {"precision": 0.98, "recall": 0.955, "on": "planted blur"}
    assert "score_only" in command("recipes", "list").stdout
    assert command("recipes", "show").returncode == 2


def test_a_sample_carries_every_score_but_no_vectors(dataset):
    (sample,) = rows(dataset, shards.SAMPLES)
    scores = json.loads(sample["json"])["scores"]
    assert set(scores) == {"motion", "quality"}
    assert {"mean_w_s", "camera"} <= set(scores["motion"])
    assert len(scores["quality"]["crop"]) == 4


@pytest.mark.parametrize("verb", ["status", "report", "explain"])
def test_what_is_no_dataset_is_told_plainly(tmp_path, verb):
    done = command(verb, tmp_path, *(["clip"] if verb == "explain" else []))
    assert done.returncode == 2
    assert "is no dataset" in done.stderr


def test_recipes_are_listed_shown_and_described():
    assert "long_take" in [r["name"] for r in json.loads(command("recipes", "--json").stdout)]
    assert "min_s: 10.0" in command("recipes", "long_take").stdout
    assert json.loads(command("recipes", "long_take", "--schema").stdout)["title"] == "long_take"
    assert command("recipes", "long_tak").returncode == 2


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["run", "long_take", "-i", "{empty}", "-o", "{out}"], 2, "no video was found"),
        (["run", "long_take", "-i", "{empty}", "-o", "{out}", "--set", "takes.min=3"], 2, "did you mean 'min_s'"),
        (["run", "nonsense", "-i", "{empty}", "-o", "{out}"], 2, "no recipe is called 'nonsense'"),
        (["run", "long_take", "-i", "nosuchfs://y", "-o", "{out}"], 2, "nosuchfs"),
        (["run", "long_take", "-i", "{list}", "-o", "{out}"], 2, "needs a column named 'path'"),
        (["run", "long_take", "-i", "{list}"], 2, "output"),
        (
            ["run", "long_take", "-i", "{film}", "-o", "{out}", "--scheduler", "tcp://127.0.0.1:9"],
            1,
            "no Dask scheduler",
        ),
    ],
)
def test_wrong_use_is_told_with_its_cure(tmp_path, footage, monkeypatch, words, status, says):
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.csv").write_text("file\na.mp4\n")
    places = {name: tmp_path / name for name in ("empty", "out")}
    places |= {"list": tmp_path / "list.csv", "film": footage / "footage/takes/yoga.mp4"}
    monkeypatch.setattr(hosts, "CONNECT_S", 2.0)  # as long as the scheduler does not answer
    done = command(*(word.format(**places) for word in words))
    assert done.returncode == status
    assert says in done.stderr.replace("\n", " ")
