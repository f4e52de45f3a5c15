"""The bundled recipe `people`, end to end: a film and a cast in, captions and samples that name who is there."""

import json
import shutil
import tarfile

import pytest

from curate.commands.explain import explain
from curate.dataset import Dataset
from schemas import captions, characters, faces
from tests.curate.engine import curate
from tests.stages.test_characters_names import titles
from tests.stages.verbs import typed

RULES = "{long: {column: clips.long_enough, equals: true}}"


@pytest.mark.slow
def test_a_film_and_a_cast_become_samples_that_name_who_is_there(footage, scheduler, tmp_path):
    film = footage / "footage/edited/dialogue.mp4"
    titles(film, tmp_path / "film.mp4", [], 8)
    rows = []
    for photo in sorted(film.with_suffix(".cast").iterdir()):
        shutil.copy(photo, tmp_path)
        rows.append({"name": photo.stem, "photo": photo.name, "description": f"Plays {photo.stem}."})
    (tmp_path / "cast.json").write_text(json.dumps(rows))
    sets = [f"{stage}.cast={tmp_path / 'cast.json'}" for stage in ("people", "characters")]
    sets += ["takes.min_s=2", f"screen.rules={RULES}", f"select.rules={RULES}", "clips.preset=ultrafast"]
    output = tmp_path / "dataset"
    assert curate([tmp_path / "film.mp4"], output, scheduler, sets, recipe="people").failed == 0

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
    explained = json.loads(typed(explain, output, clip, "--json").stdout)
    assert {row["name"] for row in explained["tables"]["identities"]} & set(named)
