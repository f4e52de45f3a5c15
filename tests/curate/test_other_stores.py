"""A dataset's files on the clouds of Google and Azure, as their emulators have them, and films on the Hub."""

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from stores import azure_server, gcs_server

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


def use(store, url, tmp_path):
    words = [sys.executable, "-c", USER, url, str(tmp_path / "film.mp4")]
    return subprocess.run(words, env=store.environment, capture_output=True, text=True)


def test_google(tmp_path):
    """The emulator heeds no `ifGenerationMatch`, so that who may write is not put to the test here."""
    pytest.importorskip("gcsfs")
    pytest.importorskip("gcp_storage_emulator")
    with gcs_server() as store:
        done = use(store, "gs://reels", tmp_path)
    assert done.stdout == "all right\n", done.stderr


@pytest.mark.skipif(not shutil.which("azurite-blob"), reason="needs azurite (npm install -g azurite)")
def test_azure(tmp_path):
    pytest.importorskip("adlfs")
    with azure_server() as store:
        done = use(store, "az://reels", tmp_path)
    assert done.stdout == "all right\n", done.stderr


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


@pytest.mark.parametrize(("status", "told"), [(404, FileNotFoundError), (503, StoreError)])
def test_what_azures_client_says_is_understood(status, told):
    """Its answer is an object, where that of S3's client is a dict."""

    class RefusedError(Exception):
        response = SimpleNamespace(status_code=status)

    with pytest.raises(told), plainly("az://reels/ds"):
        raise FileNotFoundError("no such blob") from RefusedError()
