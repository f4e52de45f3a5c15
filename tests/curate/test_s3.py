"""Jobs on S3: a real server that speaks S3 on loopback, real workers that read from it and write to it."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from difference import difference
from engine import RECIPE, curate, rows
from excerpts import excerpt
from stores import FAULTS, KEY, SECRET, TOKEN, proxied, s3_server

from schemas import sources

pytest.importorskip("s3fs")

SETTINGS = ["takes.min_s=1", "screen.rules={}", "select.rules={}", "clips.preset=ultrafast", "pack.target_mb=1"]


@pytest.fixture(scope="module")
def server():
    with s3_server() as server:
        client = server.client()
        client.create_bucket(Bucket="reels")
        client.close()
        yield server


def run(inputs, output):
    words = [sys.executable, "-m", "curate.cli", "run", RECIPE, "-i", str(inputs), "-o", str(output), "--json"]
    return [*words, "--workers", "1", *(word for setting in SETTINGS for word in ("--set", setting))]


@pytest.mark.slow
def test_sources_on_s3_become_shards_and_are_not_fetched_twice(server, footage, tmp_path):
    client = server.client()
    film = excerpt(footage / "footage/edited/bikes.mp4", tmp_path / "bikes.mp4", 4)
    client.upload_file(str(film), "reels", "raw/edited/bikes.mp4")
    client.put_object(Bucket="reels", Key="raw/text.mp4", Body=b"no video")
    client.close()
    with proxied(server) as proxy:
        done = subprocess.run(
            run("s3://reels/raw", tmp_path / "out"), env=proxy.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["states"]["source"] == {"kept": 1, "rejected": 0, "failed": 1}
        found = {r["path"] for r in rows(tmp_path / "out", sources.SOURCES)}
        assert found == {"s3://reels/raw/edited/bikes.mp4", "s3://reels/raw/text.mp4"}
        assert list((tmp_path / "out/shards").glob("*/*.tar"))
        proxy.requests.clear()
        again = subprocess.run(
            run("s3://reels/raw", tmp_path / "out"), env=proxy.environment, capture_output=True, text=True
        )
        assert json.loads(again.stdout)["tasks"] == 0
        assert not proxy.requests["Get"]
    assert SECRET not in done.stderr


def lease(server, **changed):
    """What the dataset's lease says, after a change of ours."""
    client = server.client()
    told = json.loads(client.get_object(Bucket="reels", Key="out/.lease")["Body"].read()) | changed
    if changed:
        client.put_object(Bucket="reels", Key="out/.lease", Body=json.dumps(told).encode())
    client.close()
    return told


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_dataset_on_a_failing_s3_killed_and_resumed_equals_one_on_a_disk(server, footage, scheduler, tmp_path):
    """Nothing of it says with which credentials it was made, though every client logs all that it does."""
    (tmp_path / "raw").mkdir()
    excerpt(footage / "footage/edited/bikes.mp4", tmp_path / "raw/bikes.mp4", 4)
    (tmp_path / "raw/text.mp4").write_text("no video")
    curate([tmp_path / "raw"], tmp_path / "disk", scheduler, SETTINGS)
    words = run(tmp_path / "raw", "s3://reels/out")
    faults = dict.fromkeys(FAULTS, 0.02)
    log = tmp_path / "log"
    with proxied(server, faults, seed=11) as proxy, log.open("wb") as said:
        environment = proxy.environment | {"S3FS_LOGGING_LEVEL": "DEBUG", "FSSPEC_LOGGING_LEVEL": "DEBUG"}
        first = subprocess.Popen(words, env=environment, stdout=said, stderr=said, start_new_session=True)
        while proxy.requests["Put"] < 20 and first.poll() is None:
            time.sleep(0.05)
        os.killpg(first.pid, signal.SIGKILL)
        assert first.wait() == -signal.SIGKILL
        lease(server, term_s=6)  # that its whole term is waited for is shown in test_lease.py
        second = subprocess.Popen(words, env=environment, stdout=said, stderr=said)
        while lease(server).get("pid") != second.pid and second.poll() is None:
            time.sleep(0.05)
        proxy.shares = {"delay": 1.0}  # so that it is not done before the third has looked twice
        refused = subprocess.run(words, env=environment, capture_output=True, text=True)
        proxy.shares = faults
        assert refused.returncode == 1
        assert f"another run is writing to this dataset (process {second.pid} on" in refused.stderr
        assert second.wait() == 0, log.read_text()[-3000:]
        assert sum(proxy.faults[fault] for fault in FAULTS if fault != "delay") > 5
    server.download("reels", "out", tmp_path / "there")
    (tmp_path / "there/.lease").unlink()
    assert not difference(tmp_path / "disk", tmp_path / "there")
    seen = [log.read_bytes(), refused.stderr.encode(), *(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())]
    for secret in (SECRET, TOKEN, KEY):
        assert not any(secret.encode() in text for text in seen)
    assert b"CALL: put_object" in log.read_bytes()
