"""Sources on S3: a real server that speaks S3 on loopback, real workers that fetch from it."""

import json
import os
import subprocess
import sys

import boto3
import pytest
from engine import RECIPE, rows

from schemas import sources


@pytest.fixture(scope="module")
def bucket():
    """(environment for clients, client) of a fresh server with an empty bucket `reels`."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    address = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    login = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    client = boto3.client(
        "s3", endpoint_url=address["AWS_ENDPOINT_URL"], region_name="us-east-1",
        aws_access_key_id=login["AWS_ACCESS_KEY_ID"], aws_secret_access_key=login["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip
    client.create_bucket(Bucket="reels")
    yield {**os.environ, **address, **login}, client
    client.close()
    server.stop()


@pytest.mark.slow
def test_sources_on_s3_become_shards_and_are_not_fetched_twice(bucket, footage, tmp_path):
    environment, client = bucket
    for name in ("takes/mm_struct.mp4", "edited/bikes.mp4"):
        client.upload_file(str(footage / "footage" / name), "reels", f"raw/{name}")
    client.put_object(Bucket="reels", Key="raw/text.mp4", Body=b"no video")
    command = [
        sys.executable,
        "-m",
        "curate.cli",
        "run",
        RECIPE,
        "-i",
        "s3://reels/raw",
        "-o",
        str(tmp_path / "out"),
    ]
    command += ["--json", "--set", "takes.min_s=3", "--set", "screen.rules={}", "--set", "select.rules={}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["states"]["source"] == {"kept": 2, "rejected": 0, "failed": 1}
    assert {r["path"] for r in rows(tmp_path / "out", sources.SOURCES)} == {
        "s3://reels/raw/takes/mm_struct.mp4", "s3://reels/raw/edited/bikes.mp4", "s3://reels/raw/text.mp4",
    }  # fmt: skip
    assert list((tmp_path / "out/shards").glob("*/*.tar"))
    again = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert json.loads(again.stdout)["tasks"] == 0
    assert "secret" not in done.stderr
