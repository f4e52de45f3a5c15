"""A dataset in a folder as the Hub would have it: read back by those who will read it, and what is not published."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
import webdataset as wds
import yaml
from huggingface_hub import DatasetCard
from hypothesis import given
from hypothesis import strategies as st
from made_dataset import filled, made_dataset
from typer import Typer
from typer.testing import CliRunner

from curate.dataset import Dataset, to_arrow
from pipelines.push import card, licences
from pipelines.push import command as verb
from schemas import faces, shards

app = Typer()
app.command()(verb.push)
LISTED = {"license": "CC BY 4.0", "url": "https://films.example/1", "creator": "Ann | <b>", "taste": "salt"}


def push(*words, status=0):
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == status, (done.output, done.exception)
    return json.loads(done.stdout) if "--json" in words else done.output


@pytest.fixture
def made(tmp_path):
    return made_dataset(tmp_path / "dataset", user=LISTED)


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """`load_dataset` of the package `datasets`, with a cache of the test's own."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    return datasets.load_dataset


# Both readers leave a tar open until it is collected.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_is_published_is_read_by_datasets_and_webdataset(made, loaded, tmp_path):
    from datasets import Video

    out = tmp_path / "out"
    push(made, out, "--license", "cc-by-4.0", "--column", "taste")
    rows = loaded(str(out), "clips")
    assert {name: len(split) for name, split in rows.items()} == {"train": 3, "validation": 1}
    first = rows["train"][0]
    assert first["caption"] == "Somebody walks, number 0."
    assert (first["license"], first["taste"], first["motion_mean_w_s"]) == ("CC BY 4.0", "salt", None)
    assert rows["validation"][0]["motion_camera"] == "static"
    assert first["captions_shot"][0]["end_s"] == 12
    # The first samples have nulls where later ones have values: the page's types are what makes that readable.
    tars = {"train": "shards/train/*.tar", "validation": "shards/val/*.tar"}
    samples = loaded(str(out), "webdataset", data_files=tars, streaming=True)
    samples = samples.cast_column("mp4", Video(decode=False))
    read = [sample for split in samples.values() for sample in split]
    assert [sample["__key__"] for sample in read] == [*rows["train"]["member"], *rows["validation"]["member"]]
    assert read[3]["json"]["scores"]["motion"]["camera"] == "static"
    tar = out / first["shard"]
    by_key = {s["__key__"]: s for s in wds.WebDataset(str(tar), shardshuffle=False)}
    assert by_key[first["member"]]["txt"].decode() == first["caption"]


def test_the_page_is_what_the_hub_reads(made, tmp_path):
    out = tmp_path / "out"
    push(made, out, "--license", "cc-by-4.0", "--contact", "who@films.example")
    text = (out / "README.md").read_text()
    found = DatasetCard(text).data.to_dict()
    assert found["license"] == "cc-by-4.0"
    assert found["size_categories"] == ["n<1K"]
    datasets = pytest.importorskip("datasets")
    (clips,) = [info for info in found["dataset_info"] if info["config_name"] == "clips"]
    schema = pq.read_schema(out / "data/train-00000-of-00001.parquet")
    assert datasets.Features._from_yaml_list(clips["features"]) == datasets.Features.from_arrow_schema(schema)
    assert "who@films.example" in text
    assert "| cc-by-4.0 | 4 | 4 | 0.01 |" in text
    # Neither a path, nor an address, nor a cast of the maker's is in any byte; nor can a list's text draw a table.
    for path in out.rglob("*"):
        told = path.read_bytes() if path.is_file() else b""
        assert b"/home/me" not in told
        assert b"10.0.0.7" not in told
    assert "A \\| table's enemy" in text


def test_a_second_push_changes_what_changed_and_takes_away_what_is_gone(made, tmp_path):
    out = tmp_path / "out"
    first = push(made, out, "--license", "cc-by-4.0", "--json")
    assert push(made, out, "--license", "cc-by-4.0", "--json")["uploaded"] == []
    fewer = made_dataset(tmp_path / "fewer", clips=3, user=LISTED)
    dry = push(fewer, out, "--license", "cc-by-4.0", "--json", "--dry-run")
    assert set(first["uploaded"]) == {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()} - {
        ".longtake.json"
    }
    (out / "README.md").write_text((out / "README.md").read_text() + "Mine.\n")
    done = push(fewer, out, "--license", "cc-by-4.0", "--json")
    assert done["uploaded"] == dry["uploaded"]
    assert done["deleted"] == dry["deleted"] == ["shards/train/000001.tar"]
    assert done["unchanged"] == 1  # the other tar of train
    assert not (out / "shards/train/000001.tar").exists()
    assert (out / "README.md").read_text().endswith("Mine.\n")
    assert push(fewer, out, "--license", "cc-by-4.0", "--only-parquet", "--json")["deleted"]
    assert not (out / "shards").exists()


def test_what_must_not_be_published_is_refused_with_its_cure(made, tmp_path):
    out, place = tmp_path / "out", Dataset(str(made))
    assert "--license" in push(made, out, status=2)
    assert "did you mean apache-2.0" in push(made, out, "--license", "apache", status=2)
    assert "asks to be named" in push(made, out, "--license", "cc0-1.0", status=1)
    with place.locked():
        assert "another run" in push(made, out, "--license", "cc-by-4.0", status=1)
    pathy = made_dataset(tmp_path / "pathy", user={"raw": "/home/me/raw.mov"})
    assert "--only-parquet" in push(pathy, out, "--license", "mit", status=1)
    push(pathy, tmp_path / "parquet", "--license", "mit", "--only-parquet")
    named = made_dataset(tmp_path / "named", seen=[{"label": "Bo Ray", "name": "Bo Ray", "seen_s": 1.0}])
    row = filled(faces.PEOPLE, name="Bo Ray", portrait=b"")
    Dataset(str(named)).write_part(faces.PEOPLE, "k", to_arrow(faces.PEOPLE, [row]), {})
    assert "Bo Ray" in push(named, out, "--license", "mit", status=1)
    push(named, tmp_path / "people", "--license", "mit", "--people")
    (train,) = (tmp_path / "people/data").glob("train-*")
    assert pq.read_table(train)["seen"][0].as_py()[0]["name"] == "Bo Ray"
    assert "other says nothing" in push(named, out, "--license", "other", "--people", status=1)
    for key in place.keys("samples"):
        rows = place.scan(shards.SAMPLES).to_table().slice(1)
        place.write_part(shards.SAMPLES, key, rows, {})
    assert "newer than its shards" in push(made, out, "--license", "cc-by-4.0", status=1)
    shutil.rmtree(made / "tables/ledger")
    assert "did not finish" in push(made, out, "--license", "cc-by-4.0", status=1)
    assert not out.exists()


def test_sources_of_several_licences_have_a_page(tmp_path):
    made = made_dataset(tmp_path / "dataset", user={"licence": "CC BY-NC 4.0"})
    assert "not for commercial use" in push(made, tmp_path / "out", "--license", "apache-2.0", status=1)
    push(made, tmp_path / "out", "--license", "other")
    assert "| cc-by-nc-4.0 | 4 | 4 |" in (tmp_path / "out/LICENSE.md").read_text()
    assert DatasetCard((tmp_path / "out/README.md").read_text()).data.license_link == "LICENSE.md"


@pytest.mark.parametrize(
    ("told", "spelt"),
    [
        ("CC-BY-SA 4.0", "cc-by-sa-4.0"),
        ("Creative Commons Attribution-NonCommercial 4.0", "cc-by-nc-4.0"),
        ("https://creativecommons.org/licenses/by/4.0/", "cc-by-4.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "cc0-1.0"),
        ("CC0", "cc0-1.0"),
        ("Public Domain", "pd"),
        ("Apache 2.0", "apache-2.0"),
        ("All rights reserved", "all rights reserved"),
    ],
)
def test_licences_are_known_however_they_are_spelt(told, spelt):
    assert licences.normal(told) == spelt


@pytest.mark.parametrize(
    ("declared", "source", "goes"),
    [
        ("apache-2.0", "CC BY-NC 4.0", False),
        ("cc-by-nc-4.0", "CC BY-NC 4.0", True),
        ("cc-by-4.0", "cc-by-sa-4.0", False),
        ("cc-by-sa-4.0", "CC BY-SA 3.0", True),
        ("cc-by-nd-4.0", "cc-by-nd-4.0", False),
        ("mit", "Public Domain", True),
        ("mit", "", True),
        ("mit", "ask my aunt", False),
        ("other", "All rights reserved", True),
    ],
)
def test_a_licence_grants_no_more_than_its_sources(declared, source, goes):
    assert (not licences.conflicts(declared, {source: 2})) == goes


@given(st.text())
def test_other_peoples_text_stays_in_its_cell(text):
    found = card.cell(text)
    assert "\n" not in found
    assert "|" not in found.replace("\\|", "")
    assert yaml.safe_load(yaml.safe_dump(text, allow_unicode=True)) == text
