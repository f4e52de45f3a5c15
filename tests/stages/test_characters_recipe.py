"""The bundled recipe `people`, end to end: a film and a cast in, captions and samples that name who is there."""

import json
import shutil
import subprocess
import sys
import tarfile

import pytest

from curate.dataset import Dataset
from schemas import captions, characters, faces
from tests.stages.test_characters_names import titles

RULES = "{long: {column: clips.long_enough, equals: true}}"


def curate(*words):
    return subprocess.run(
        [sys.executable, "-m", "curate.cli", *map(str, words)], capture_output=True, text=True, timeout=850
    )


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute where nobody else computes
def test_a_film_and_a_cast_become_samples_that_name_who_is_there(footage, tmp_path):
    film = footage / "footage/edited/dialogue.mp4"
    titles(film, tmp_path / "film.mp4", [], 11)
    rows = []
    for photo in sorted(film.with_suffix(".cast").iterdir()):
        shutil.copy(photo, tmp_path)
        rows.append({"name": photo.stem, "photo": photo.name, "description": f"Plays {photo.stem}."})
    (tmp_path / "cast.json").write_text(json.dumps(rows))
    sets = [f"{stage}.cast={tmp_path / 'cast.json'}" for stage in ("people", "characters")]
    sets += ["takes.min_s=2", f"screen.rules={RULES}", f"select.rules={RULES}", "clips.preset=ultrafast"]
    settings = [word for setting in sets for word in ("--set", setting)]
    output = tmp_path / "dataset"
    done = curate("run", "people", "-i", tmp_path / "film.mp4", "-o", output, "--workers", 1, *settings)
    assert done.returncode == 0, done.stderr[-2000:]

    dataset = Dataset(str(output))
    told = dataset.scan(characters.CHARACTERS).to_table().to_pylist()
    named = {row["name"]: row for row in told if row["name"]}
    assert named
    assert set(named) <= {row["name"] for row in rows}
    assert all(row["named_by"] == "face" for row in named.values())
    assert all(row["cast_description"] == f"Plays {name}." for name, row in named.items())
    one = dataset.scan(faces.IDENTITIES).to_table().to_pylist()
    assert {row["name"] for row in one if row["name"]} == set(named)

    texts = " ".join(row["text"] for row in dataset.scan(captions.TABLE).to_table().to_pylist())
    assert all(name.replace("_", " ").title() in texts for name, row in named.items() if row["screen_s"] > 2)
    (shard, *_) = output.glob("shards/*/*.tar")
    with tarfile.open(shard) as tar:
        samples = [json.loads(tar.extractfile(m).read()) for m in tar if m.name.endswith(".json")]
    assert any("biden" in json.dumps(sample) or "obama" in json.dumps(sample) for sample in samples)

    clip = next(row["clip_id"] for row in dataset.scan(faces.FACES).to_table().to_pylist() if row["name"])
    explained = json.loads(curate("explain", output, clip, "--json").stdout)
    assert {row["name"] for row in explained["tables"]["identities"]} & set(named)
