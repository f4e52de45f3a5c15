"""The bundled recipe whole, on real takes: what every stage of it leaves behind."""

import json
import shutil
import tarfile

import pytest

from curate.dataset import Dataset
from tests.curate.engine import curate
from tests.stages.listening import ffmpeg

MARKED, CLEAN = "dj2.mp4", "pancake.mkv"


@pytest.mark.slow
def test_long_take_scores_decides_and_packs(footage, scheduler, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in (MARKED, CLEAN):
        ffmpeg("-i", footage / "footage/takes" / name, "-t", "6", "-c", "copy", folder / name)
    shutil.copy(folder / CLEAN, folder / "again.mkv")
    with open(folder / "again.mkv", "ab") as file:
        file.write(bytes(100))  # other bytes, the same pictures
    short = ["clips.preset=ultrafast", "takes.min_s=5"]
    summary = curate([folder], tmp_path / "out", scheduler, short, recipe="long_take")
    assert summary.failed == 0
    dataset = Dataset(str(tmp_path / "out"))
    found = {name: dataset.stored(name).to_table().to_pylist() for name in dataset.table_names()}
    paths = {row["source_id"]: row["path"].rsplit("/", 1)[-1] for row in found["sources"]}
    reasons = {paths[row["source_id"]]: " ".join(row["reasons"]) for row in found["decisions"]}
    assert "little_text" in reasons[MARKED]
    assert sorted([reasons[CLEAN], reasons["again.mkv"]])[0] == ""
    assert "unique" in "".join([reasons[CLEAN], reasons["again.mkv"]])
    for table in ("motion", "motion_seconds", "quality", "text", "overlay", "safety", "crop", "duplicates", "stills"):
        assert found[table], table
    (shard,) = (tmp_path / "out/shards").glob("*/*.tar")
    with tarfile.open(shard) as tar:
        (told,) = [json.load(tar.extractfile(m)) for m in tar.getmembers() if m.name.endswith(".json")]
    assert {"motion", "quality", "text", "overlay", "safety", "crop", "duplicates"} <= set(told["scores"])
