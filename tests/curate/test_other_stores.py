"""Datasets on Google's and Azure's clouds and in the Hub's buckets, as emulators have them; films in repositories."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from excerpts import excerpt
from whole_job import OTHERS, other_store, whole_job

from curate.remote import StoreError, plainly
from tests.pipelines.hub_server import TOKEN, serving

USER = """
import pathlib, sys
from curate.dataset import Dataset, to_arrow
from curate.folder import fetched
from curate.listing import listing
from schemas import errors

url, local = sys.argv[1:]
place = Dataset(url + "/ds")
large = bytes(range(256)) * 2**15
with place.locked():
    place.sweep()
    place.write("recipe.yaml", b"name: x")
    place.write("empty", b"")
    pathlib.Path(local).write_bytes(large)
    place.move_in(pathlib.Path(local), "clips/a.mp4")
    row = {"source_id": "s", "clip_id": None, "path": "p", "stage": "t", "error": "E", "message": "m", "traceback": ""}
    place.write_part(errors.TABLE, "k", to_arrow(errors.TABLE, [row]), {"made": "here"})
assert not pathlib.Path(local).exists()
assert place.read("recipe.yaml") == b"name: x" and place.read("empty") == b"" and place.exists("empty")
assert place.keys("errors") == {"k"} and place.provenance("errors", "k") == {"made": "here"}
assert place.scan(errors.TABLE).to_table().num_rows == 1 and place.stored("errors").to_table().num_rows == 1
assert set(place.sizes("")) - {".lease"} == {"recipe.yaml", "empty", "clips/a.mp4", "tables/errors/k.parquet"}
with fetched(place.address("clips/a.mp4")) as path:
    assert pathlib.Path(path).read_bytes() == large
found = listing([url + "/ds/clips"]).files
assert [path.split("://")[1] for path in found] == [url.split("://")[1] + "/ds/clips/a.mp4"]
assert next(iter(found.values())).bytes == len(large)
place.remove("empty")
place.remove("empty")
assert not place.exists("empty") and place.names("nowhere") == []
with place.locked():
    place.remove("recipe.yaml")
print("all right")
"""


@pytest.fixture(scope="module", params=OTHERS)
def other(request):
    """Another store than S3, and an address there."""
    with ExitStack() as stack:
        try:
            yield stack.enter_context(other_store(request.param))
        except FileNotFoundError as error:
            pytest.skip(str(error))


def test_files(other, tmp_path):
    store, place = other
    words = [sys.executable, "-c", USER, place, str(tmp_path / "film.mp4")]
    done = subprocess.run(words, env=store.environment, capture_output=True, text=True)
    assert done.stdout == "all right\n", done.stderr


@pytest.mark.slow
def test_a_whole_job_from_sources_to_shards_there_is_as_on_a_disk(other, footage, tmp_path):
    job = whole_job(*other, [excerpt(footage / "footage/edited/bikes.mp4", tmp_path / "bikes.mp4", 2)], tmp_path)
    assert job.first["states"]["source"]["kept"] == 1
    assert job.first["states"]["clip"]["kept"] >= 1
    assert job.again["tasks"] == 0
    assert not job.found


SOURCES = """
import json
from curate.folder import fetched
from curate.listing import listing

found = listing(["hf://datasets/org/raw/films"]).files
told = {}
for url, file in found.items():
    with fetched(url) as path:
        told[url] = file.fingerprint, open(path, "rb").read().decode()
print(json.dumps(told))
"""


def test_the_hub_has_sources_and_one_that_changes_is_another(tmp_path):
    pytest.importorskip("huggingface_hub")
    own = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    own |= {"HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}

    def seen(hub):
        words = [sys.executable, "-c", SOURCES]
        return json.loads(subprocess.check_output(words, env=own | {"HF_ENDPOINT": hub.url}))

    with serving() as hub:
        hub.put("org/raw", {"README.md": b"", "films/a.mp4": b"one", "films/deep/b.mkv": b"two", "films/b.txt": b""})
        before = seen(hub)
        hub.put("org/raw", {"films/a.mp4": b"six", "films/deep/b.mkv": b"two"})
        after = seen(hub)
    first, second = "hf://datasets/org/raw/films/a.mp4", "hf://datasets/org/raw/films/deep/b.mkv"
    assert {url: text for url, (_, text) in before.items()} == {first: "one", second: "two"}
    assert after[first][1] == "six"
    assert before[first][0] != after[first][0]
    assert before[second] == after[second]


COUNT = """
import sys
from curate.folder import Folder
place = Folder("hf://buckets/org/reels/counted")
place.write("a", b"one")
print(place.read("a").decode(), *place.tree(""))
"""


def test_a_request_too_many_is_asked_of_the_hub_again():
    with other_store("hf") as (gateway, _):
        gateway.too_many = 2
        words = [sys.executable, "-c", COUNT]
        done = subprocess.run(words, env=gateway.environment, capture_output=True, text=True)
    assert done.stdout == "one a\n", done.stderr
    assert not gateway.too_many


def test_what_googles_client_says_is_understood():
    """It has one class of errors for what is forbidden and for much else."""
    with pytest.raises(PermissionError, match="policy"), plainly("gs://reels/ds"):
        raise OSError("Forbidden: reels/ds\nno storage.objects.create")


@pytest.mark.parametrize(("status", "told"), [(404, FileNotFoundError), (503, StoreError)])
def test_what_azures_client_says_is_understood(status, told):
    """Its answer is an object, where that of S3's client is a dict."""

    class RefusedError(Exception):
        response = SimpleNamespace(status_code=status)

    with pytest.raises(told), plainly("az://reels/ds"):
        raise FileNotFoundError("no such blob") from RefusedError()
