"""A dataset's files on S3: whole or not there, however often the store fails, and without anybody's credentials."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stores import FAULTS, KEY, SECRET, TOKEN, clean_environment, proxied, s3_server

from curate import remote
from curate.folder import Folder, fetched
from curate.listing import InputError, listing

s3fs = pytest.importorskip("s3fs")

PART = 50 * 2**20
"""s3fs's part of a multi-part upload; a file of less than two parts is one PUT."""


@pytest.fixture(scope="module")
def server():
    with s3_server() as server:
        client = server.client()
        client.create_bucket(Bucket="reels")
        client.close()
        yield server


@pytest.fixture
def using(monkeypatch):
    """Makes this process a client of a store."""

    def use(store):
        for name in os.environ.keys() - clean_environment().keys():
            monkeypatch.delenv(name)
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        remote._retries.cache_clear()

    yield use
    s3fs.S3FileSystem.clear_instance_cache()
    remote._retries.cache_clear()


def noise(path: Path, size: int) -> str:
    """A file of bytes that do not repeat; returns their checksum."""
    known = hashlib.sha256()
    with open(path, "wb") as file:
        for at in range(0, size, 2**20):
            piece = (os.urandom(2**10) * 2**10)[: min(2**20, size - at)]
            known.update(piece)
            file.write(piece)
    return known.hexdigest()


def test_a_folder_on_s3_is_a_folder(server, using, tmp_path):
    using(server)
    folder = Folder("s3://reels/plain")
    large = os.urandom(9 * 2**20)
    contents = {"tables/a/1.parquet": b"one", "tables/a/2.parquet": b"", "ключ 1.txt": b"x", "large": large}
    for name, data in contents.items():
        folder.write(name, data)
    for name, data in contents.items():
        assert folder.read(name) == data
        assert folder.exists(name)
        with folder.open(name) as file:
            file.seek(-min(3, len(data)), os.SEEK_END)
            assert file.read() == data[-3:]
            file.seek(0)
            assert file.read(5) == data[:5]
    assert sorted(folder.names("tables/a")) == ["1.parquet", "2.parquet"]
    assert folder.names("nowhere") == []
    assert folder.sizes("") == {name: len(data) for name, data in contents.items()}
    assert folder.tree("tables/a") == ["tables/a/1.parquet", "tables/a/2.parquet"]
    with folder.fetch("large") as path:
        assert path.read_bytes() == large
    folder.remove("large")
    folder.remove("large")
    assert not folder.exists("large")
    with pytest.raises(FileNotFoundError):
        folder.read("large")
    assert folder.address("a b") == "s3://reels/plain/a b"


def test_what_another_process_writes_is_seen_at_once(server, using):
    using(server)
    folder = Folder("s3://reels/seen")
    assert folder.names("tables") == []
    client = server.client()
    client.put_object(Bucket="reels", Key="seen/tables/a", Body=b"1")
    assert folder.names("tables") == ["a"]
    assert folder.exists("tables/a")
    client.delete_object(Bucket="reels", Key="seen/tables/a")
    client.close()
    assert not folder.exists("tables/a")


@pytest.mark.parametrize("seed", range(2))
def test_faults_of_the_store_change_nothing(server, using, tmp_path, seed):
    with proxied(server, dict.fromkeys(FAULTS[:5], 0.05), seed) as proxy:
        using(proxy)
        folder = Folder(f"s3://reels/faults{seed}")
        for number in range(12):
            folder.write(f"tables/{number}", bytes([number]) * 1000)
        film = tmp_path / "film.mp4"
        known = noise(film, 16 * 2**20)
        folder.move_in(film, "clips/film.mp4")
        assert sorted(folder.names("tables"), key=int) == [str(number) for number in range(12)]
        for number in range(12):
            assert folder.read(f"tables/{number}") == bytes([number]) * 1000
        for _ in range(2):
            with fetched(folder.address("clips/film.mp4")) as path:
                assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == known
        for number in range(12):
            folder.remove(f"tables/{number}")
        assert folder.tree("") == ["clips/film.mp4"]
    assert proxy.faults.total() > 5


@pytest.mark.parametrize("fault", ["truncated", "reset after"])
def test_half_a_body_is_noticed_and_an_unclear_answer_does_no_harm(server, using, fault):
    with proxied(server, {fault: 0.5}, seed=1) as proxy:
        using(proxy)
        folder = Folder("s3://reels/half")
        data = os.urandom(3 * 2**20)
        folder.write("part", data)
        for _ in range(4):
            assert folder.read("part") == data
    assert proxy.faults[fault] > 1


def test_a_shard_larger_than_a_part_is_the_same_bytes_though_completing_it_is_unclear(server, using, tmp_path):
    shard = tmp_path / "000000.tar"
    known = noise(shard, 2 * PART + 12345)
    with proxied(server, {"500": 0.1, "reset after": 0.3}, seed=5) as proxy:
        using(proxy)
        Folder("s3://reels/parts").move_in(shard, "shards/train/000000.tar")
        assert proxy.requests["CompleteMultipart"] > 0
    assert not shard.exists()
    client = server.client()
    client.download_file("reels", "parts/shards/train/000000.tar", str(tmp_path / "back"))
    client.close()
    assert hashlib.sha256((tmp_path / "back").read_bytes()).hexdigest() == known


def test_a_killed_upload_shows_nothing_and_the_next_run_sweeps_its_parts(server, using, tmp_path):
    noise(tmp_path / "000000.tar", 2 * PART + 1)
    code = "import sys, pathlib; from curate.folder import Folder\n"
    code += "Folder('s3://reels/killed').move_in(pathlib.Path(sys.argv[1]), 'shards/train/000000.tar')"
    with proxied(server, {"delay": 1.0}) as proxy:
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "000000.tar")], env=proxy.environment)
        while not proxy.requests["UploadPart"] and process.poll() is None:
            time.sleep(0.05)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    using(server)
    client = server.client()
    assert len(client.list_multipart_uploads(Bucket="reels").get("Uploads", [])) == 1
    folder = Folder("s3://reels/killed")
    assert not folder.exists("shards/train/000000.tar")
    assert folder.tree("") == []
    folder.sweep()
    assert not client.list_multipart_uploads(Bucket="reels").get("Uploads")
    client.close()


def status(url, environment):
    """`curate status`, with all that a user sees."""
    words = [sys.executable, "-m", "curate.cli", "status", url]
    environment |= {"AWS_EC2_METADATA_DISABLED": "true"}
    return subprocess.run(words, env=environment, capture_output=True, text=True)


def test_a_store_that_stays_away_is_told_by_its_address(server):
    with proxied(server) as proxy:
        proxy.away = True
        environment = proxy.environment | {"AWS_MAX_ATTEMPTS": "1"}  # what the user sets is heeded
        began = time.monotonic()
        done = status("s3://reels/away", environment)
        assert time.monotonic() - began < 60
    assert done.returncode == 1
    assert "s3://reels/away: the store does not answer" in done.stderr
    assert "AWS_ENDPOINT_URL" in done.stderr
    assert "what is done is kept" in done.stderr
    assert "Traceback" not in done.stderr
    assert not any(word in done.stderr for word in (SECRET, TOKEN))


def test_missing_credentials_and_buckets_are_told_with_their_cure(server):
    nobody = {k: v for k, v in server.environment.items() if k not in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    done = status("s3://reels/ds", nobody | {"HOME": "/nonexistent"})
    assert done.returncode == 1
    assert "AWS_PROFILE" in done.stderr
    assert "Traceback" not in done.stderr
    done = status("s3://no-such-bucket/ds", server.environment)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert "s3://no-such-bucket/ds" in done.stderr


@pytest.mark.parametrize(
    "url",
    [
        f"s3://{KEY}:{SECRET}@reels/raw",
        f"https://somebody:{SECRET}@example.org/a.mp4",
        f"https://reels.example.org/a.mp4?X-Amz-Credential={KEY}&X-Amz-Signature={SECRET}",
        f"az://reels/a.mp4?sv=2024&sig={SECRET}",
    ],
)
def test_an_address_with_credentials_is_refused_and_not_repeated(url, tmp_path):
    with pytest.raises(InputError, match="must not hold credentials") as told:
        listing([url])
    assert SECRET not in str(told.value)
    with pytest.raises(remote.UrlError) as told:
        Folder(url)
    assert SECRET not in str(told.value)
    (tmp_path / "list.csv").write_text(f"path,page\n{url},seen at {url} today\nb.mp4,\n")
    found = listing([str(tmp_path / "list.csv")]).files
    assert len(found) == 2
    assert SECRET not in json.dumps([vars(file) for file in found.values()])
    (refused,) = (file for file in found.values() if file.path != str(tmp_path / "b.mp4"))
    assert "must not hold credentials" in refused.failure


def test_what_is_not_installed_is_told_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(remote.UrlError, match=r"gs:// needs a package .* pip install 'longtake\[gs\]'"):
        remote.open_filesystem("gs://reels/a.mp4")
    with pytest.raises(remote.UrlError, match="abc"):
        remote.open_filesystem("abc://reels/a.mp4")
