"""Workers on hosts of their own, started by the README's commands; sources and dataset on S3, and no shared disk."""

import json
import subprocess
import sys
import time
from contextlib import ExitStack

import hosts
import pytest
from difference import difference
from engine import EVERYTHING, RECIPE
from excerpts import excerpt

from curate.place import Place

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not hosts.possible(), reason="makes network namespaces, which takes root"),
]

SOURCES = {
    "takes/yoga.mp4": (3, 1),
    "takes/mm_struct.mp4": (3, 1),
    "takes/pancake.mkv": (3, 1),
    "edited/bikes.mp4": (7.4, 3),
}
"""How many seconds of each, and how many times as slow; the longest is decoded in intervals."""
SETTINGS = [word for setting in (*EVERYTHING, "limits.interval_s=10") for word in ("--set", setting)]
GIVEN_UP_S = 12
"""After so long without network a worker is given up; 30 by default, 11 at least."""


@pytest.fixture(scope="module")
def cluster(footage, tmp_path_factory):
    """(network, store, environment, folder of certificates, what starts a worker on a host, client) of a scheduler on
    host 2 and workers on 3 and 4, with the sources on S3."""
    pytest.importorskip("moto.server")
    from stores import s3_server

    folder = tmp_path_factory.mktemp("hosts")
    (folder / "client").mkdir()
    secrets = hosts.authority(folder / "secrets")
    _, scheduler, worker, _ = hosts.commands()
    with ExitStack() as ends:
        network = ends.enter_context(hosts.network(range(2, 5)))
        store = ends.enter_context(s3_server("0.0.0.0"))  # noqa: S104 - the namespaces are on this machine
        s3 = store.client()
        s3.create_bucket(Bucket="bucket")
        for name, (seconds, slower) in SOURCES.items():
            (folder / "client" / name).parent.mkdir(exist_ok=True)
            film = excerpt(footage / "footage" / name, folder / "client" / name, seconds, slower)
            s3.upload_file(str(film), "bucket", f"raw/{name}")
        s3.close()
        address = network.address(1)
        environment = store.environment | {
            "AWS_ENDPOINT_URL": store.url.replace("127.0.0.1", address),
            "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": f"{GIVEN_UP_S}s",
        }
        for host, line in ((2, scheduler), (3, worker), (4, worker)):
            home = folder / "hosts" / str(host)
            home.mkdir(parents=True)
            for name in ("ca.pem", "node.pem", "node.key"):
                (home / name).write_bytes((secrets / name).read_bytes())
                (home / name).chmod(0o600)
            line = line.replace("HOST", network.address(2))
            if host == 4:  # a worker that loses the network ends, and is started anew as the README says
                line = f"while sleep 2; do {line}; done"
            ends.enter_context(hosts.started(line, home, environment, network.name(host)))
        place = Place(f"tls://{network.address(2)}:8786", **hosts.tls(secrets))
        watching = ends.enter_context(hosts.client(place))
        watching.wait_for_workers(2, timeout=300)
        yield network, store, environment, secrets, watching


def run_line(network, output):
    """The README's `curate run`, over the tests' recipe."""
    line = hosts.commands()[3].replace("long_take", RECIPE).replace("HOST", network.address(2))
    return " ".join([line.replace("s3://bucket/dataset", f"s3://bucket/{output}"), "--json", *SETTINGS])


@pytest.fixture(scope="module")
def here(cluster, tmp_path_factory):
    """The dataset that one machine makes of the same sources."""
    _, _, environment, _, _ = cluster
    folder = tmp_path_factory.mktemp("here") / "dataset"
    command = [sys.executable, "-m", "curate.cli", "run", RECIPE, "-i", "s3://bucket/raw", "-o", str(folder)]
    command += ["--workers", "1", *SETTINGS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def by_host(watching):
    """Number of tasks in hand by host."""
    return {address.split("/")[2].split(":")[0]: len(tasks) for address, tasks in watching.processing().items()}


def test_hosts_that_share_nothing_make_what_one_machine_makes(cluster, here, tmp_path):
    network, store, environment, secrets, watching = cluster
    seen = set()
    with hosts.started(run_line(network, "calm"), secrets, environment) as run:
        while run.poll() is None:
            seen |= {host for host, tasks in by_host(watching).items() if tasks}
            time.sleep(0.03)
    assert run.returncode == 0, (secrets / "log").read_text()
    assert seen == {network.address(3), network.address(4)}
    assert "warning" not in (secrets / "log").read_text()
    store.download("bucket", "calm", tmp_path / "calm")
    assert not difference(here, tmp_path / "calm")


def test_a_host_that_loses_the_network_and_comes_back_costs_nothing(cluster, here, tmp_path):
    network, store, environment, secrets, watching = cluster
    cut = network.address(4)
    with hosts.started(run_line(network, "cut"), secrets, environment) as run:
        hosts.until(lambda: by_host(watching).get(cut))
        network.plug(4, "down")
        try:
            hosts.until(lambda: cut not in by_host(watching))
            assert run.poll() is None
        finally:
            network.plug(4, "up")
        hosts.until(lambda: cut in by_host(watching))
        assert run.wait(600) == 0, (secrets / "log").read_text()
    store.download("bucket", "cut", tmp_path / "cut")
    assert not difference(here, tmp_path / "cut")
    told = [line for line in (secrets / "log").read_text().splitlines() if line.startswith("{")]
    assert json.loads(told[-1])["failed"] == 0
