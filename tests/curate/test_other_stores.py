"""A dataset's files on Google Cloud Storage and Azure Blob Storage, as their emulators have them."""

import shutil
import subprocess
import sys

import pytest
from stores import azure_server, gcs_server

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
