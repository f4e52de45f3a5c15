"""A scheduler of one's own: reached by TLS or refused with a cure, warned of where anybody may use it, and looked at
for other versions. Certificates are made, and processes started, by the README's commands."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import dask
import engine
import hosts
import pytest
from excerpts import excerpt
from stores import free_port
from verbs import command

from curate import cluster
from curate.cluster import ClusterError, Driver
from curate.place import Place, PlaceError
from curate.schedule.metrics import Metrics
from curate.schedule.serve import Server
from curate.schedule.store import Schedule, Store
from curate.schedule.units import kubernetes
from curate.work import JobError

QUICK = "name: quick\nstages: {signals: {}, cuts: {}, takes: {min_s: 1}}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two clusters' certificates, `ours` and `theirs`."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("ours", "theirs"):
        hosts.authority(folder / name)
    (folder / "quick.yaml").write_text(QUICK)
    return folder


def ours(folder, scheduler, **other):
    return Place(scheduler, **(hosts.tls(folder / "ours") | {k: str(v) for k, v in other.items()}))


@pytest.fixture(scope="module")
def encrypted(folder):
    """Address of a scheduler with TLS and one worker."""
    _, scheduler, worker, _ = hosts.commands()
    address = f"tls://127.0.0.1:{free_port()}"
    at = f" --host 127.0.0.1 --port {address.split(':')[-1]}"
    with ExitStack() as ends:
        ends.enter_context(hosts.started(scheduler.replace(":8787", ":0") + at, folder / "ours"))
        line = worker.replace("tls://HOST:8786", address)
        ends.enter_context(hosts.started(line, folder / "ours"))
        watching = ends.enter_context(hosts.client(ours(folder, address)))
        watching.wait_for_workers(1, timeout=120)
        yield address


@pytest.fixture(scope="module")
def plain(folder, tmp_path_factory):
    """Address, over loopback, of a scheduler without encryption that listens everywhere, and has no worker."""
    address = f"tcp://127.0.0.1:{free_port()}"
    line = f"dask scheduler --port {address.split(':')[-1]} --dashboard-address 127.0.0.1:0"
    with hosts.started(line, tmp_path_factory.mktemp("plain")), hosts.client(Place(address)):
        yield address


@pytest.mark.slow
def test_a_run_over_tls_completes_without_a_warning(folder, encrypted, footage):
    film = excerpt(footage / "footage/takes/yoga.mp4", folder / "yoga.mp4", 2)
    words = ["run", folder / "quick.yaml", "-i", film, "-o", folder / "out", "--json"]
    words += ours(folder, encrypted).options()
    done = subprocess.run([sys.executable, "-m", "curate.cli", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["states"]["source"]["kept"] == 1
    assert "warning" not in done.stderr


@pytest.mark.slow
def test_a_scheduler_that_is_killed_is_told_without_a_log_of_dasks(folder, footage, tmp_path):
    port = free_port()
    place = Place(f"tcp://127.0.0.1:{port}")
    words = ["run", folder / "quick.yaml", "-i", footage / "footage/takes/vtest.avi", "-o", tmp_path / "out"]
    words += place.options()
    with ExitStack() as ends:
        line = f"dask scheduler --host 127.0.0.1 --port {port} --no-dashboard"
        scheduler = ends.enter_context(hosts.started(line, tmp_path / "scheduler"))
        line = f"dask worker {place.scheduler} --nthreads 1 --no-dashboard"
        ends.enter_context(hosts.started(line, tmp_path / "worker"))
        with hosts.client(place) as watching:
            watching.wait_for_workers(1, timeout=120)
        command = [sys.executable, "-m", "curate.cli", *map(str, words)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as run:
            while run.poll() is None and not any(tmp_path.glob("out/tables/sources/*")):
                time.sleep(0.02)
            os.killpg(scheduler.pid, signal.SIGKILL)
            told = run.communicate()[1]
    assert run.returncode == 1
    assert "the Dask cluster went away" in told
    assert "Traceback" not in told


@pytest.mark.slow
def test_who_shows_no_certificate_of_the_cluster_is_refused(folder, encrypted):
    theirs = Place(encrypted, **hosts.tls(folder / "theirs"))
    with pytest.raises(ClusterError, match=r"certificate is none of --tls-ca-file .*theirs/ca\.pem"):
        cluster.connect(theirs).__enter__()
    # Whoever claims to know their CA for ours, and shows a certificate of another: that is the scheduler's to refuse.
    both = folder / "both.pem"
    both.write_bytes(b"".join((folder / name / "ca.pem").read_bytes() for name in ("ours", "theirs")))
    foreign = Place(encrypted, **(hosts.tls(folder / "theirs") | {"tls_ca_file": str(both)}))
    with pytest.raises(ClusterError, match="refuses the certificate"):
        cluster.connect(foreign).__enter__()
    with pytest.raises(ClusterError, match="it speaks TLS: its address is tls://"):
        cluster.connect(Place(encrypted.replace("tls://", "tcp://"))).__enter__()


@pytest.mark.slow
def test_foreign_and_plain_workers_are_refused(folder, encrypted, tmp_path):
    worker = hosts.commands()[2].replace("tls://HOST:8786", encrypted)
    plain = f"dask worker {encrypted.replace('tls://', 'tcp://')} --dashboard-address 127.0.0.1:0"
    with ExitStack() as ends:
        lines = ((worker, folder / "theirs"), (plain, tmp_path / "plain"))
        tried = [
            ends.enter_context(hosts.started(f"{line} --no-nanny --death-timeout 5", where)) for line, where in lines
        ]
        for process in tried:
            assert process.wait(150) != 0
        with hosts.client(ours(folder, encrypted)) as watching:
            assert len(watching.nthreads()) == 1


@pytest.mark.slow
def test_tls_is_not_taken_for_plaintext(folder, plain):
    with pytest.raises(ClusterError, match="does not speak TLS: start it with --protocol tls"):
        cluster.connect(ours(folder, plain.replace("tcp://", "tls://"))).__enter__()


@pytest.mark.slow
def test_a_scheduler_that_listens_to_everybody_is_warned_of_though_reached_over_loopback(plain):
    said = []
    with cluster.connect(Place(plain), said.append):
        pass
    (line,) = said
    assert "listens at tcp://" in line
    assert "run code as you" in line
    assert "--protocol tls" in line


def other_version(folder):
    """An environment in which longtake says to be 9.9."""
    (folder / "longtake-9.9.dist-info").mkdir(parents=True)
    (folder / "longtake-9.9.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: longtake\nVersion: 9.9\n")
    return {"PYTHONPATH": str(folder)}


@pytest.mark.slow
def test_a_worker_with_another_longtake_is_refused_early_or_late(plain, tmp_path):
    line = f"dask worker {plain} --no-nanny --nthreads 1 --dashboard-address 127.0.0.1:0"
    task = {"kind": "quarantine", "task": {}, "message": ""}
    with (
        cluster.connect(Place(plain)) as early,  # when there is no worker yet
        hosts.started(line, tmp_path / "worker", other_version(tmp_path / "other")),
    ):
        early.wait_for_workers(1, timeout=120)
        with pytest.raises(JobError, match=r"worker tcp://\S+ has longtake 9\.9"):
            Driver(early, str(tmp_path), "", 3, lambda task, receipt: None).run([[task]])
        with pytest.raises(ClusterError, match=r"worker tcp://\S+ has longtake 9\.9, and here is"):
            cluster.connect(Place(plain)).__enter__()


@pytest.mark.slow
def test_what_a_scheduled_run_warns_of_is_in_the_log_of_who_serves(folder, plain, footage, tmp_path):
    now = datetime.now(UTC)
    store = Store(tmp_path / "schedules")
    store.add(
        Schedule(
            name="nightly", recipe=str(folder / "quick.yaml"), inputs=[str(footage / "footage/takes/yoga.mp4")],
            output=str(tmp_path / "out"), cron="* * * * *", timezone="UTC", created=now - timedelta(minutes=2),
            scheduler=plain,
        )
    )  # fmt: skip
    told = []
    server = Server(store, 1, lambda event, **facts: told.append({"event": event, **facts}), Metrics(), lambda: now)
    serving = threading.Thread(target=server.serve)
    serving.start()
    try:
        (warning,) = hosts.until(lambda: [row for row in told if row["event"] == "warning"])
    finally:
        server.stop.set()
        serving.join()
    assert warning["schedule"] == "nightly"
    assert "run code as you" in warning["warning"]


def test_a_schedule_keeps_the_place_and_exports_it(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LONGTAKE_SCHEDULES", str(tmp_path / "schedules"))
    monkeypatch.chdir(folder / "ours")
    add = ["schedule", "add", "nightly", folder / "quick.yaml", "-i", tmp_path, "-o", tmp_path / "out"]
    add += ["--cron", "0 2 * * *"]
    files = ["--tls-ca-file", "ca.pem", "--tls-cert", "node.pem", "--tls-key", "node.key"]
    assert command(*add, "--scheduler", "tls://10.0.0.5:8786", *files).returncode == 0
    kept = Store().get("nightly")
    assert kept.place == ours(folder, "tls://10.0.0.5:8786")
    assert kept.command()[-8:] == kept.place.options()
    refused = command("schedule", "export", "nightly", "--as", "kubernetes", "--image", "longtake:1")
    assert refused.returncode == 2
    assert "--tls-secret NAME" in refused.stderr
    job = kubernetes(kept, "longtake:1", None, "cluster-tls")
    assert "/etc/longtake/tls/tls.key" in job
    assert "node.key" not in job


def test_files_that_will_not_do_are_named_with_the_cure(folder, tmp_path):
    at = "tls://127.0.0.1:8786"
    key = folder / "ours/node.key"
    open_key = tmp_path / "open.key"
    open_key.write_bytes(key.read_bytes())
    open_key.chmod(0o644)
    locked = tmp_path / "locked.key"
    lock = ["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:x", "-out", locked]
    subprocess.run(lock, check=True, capture_output=True)
    for changed, told in (
        ({"tls_key": "gone.key"}, r"--tls-key gone\.key: No such file"),
        ({"tls_cert": folder / "quick.yaml"}, "--tls-cert .*holds no CERTIFICATE in PEM"),
        ({"tls_cert": folder / "theirs/node.pem"}, "is not the key of --tls-cert"),
        ({"tls_ca_file": folder / "theirs/ca.pem"}, "has to be signed by --tls-ca-file .*theirs"),
        ({"tls_key": open_key}, "others on this machine may read.*chmod 600"),
        ({"tls_key": locked}, "has a passphrase"),
    ):
        with pytest.raises(PlaceError, match=told):
            ours(folder, at, **changed).security()
    assert ours(folder, at).security().require_encryption
    assert ours(folder, "127.0.0.1:8786").address == at
    known = ours(folder, at)
    configured = {"ca-file": known.tls_ca_file, "client": {"cert": known.tls_cert, "key": known.tls_key}}
    with dask.config.set({"distributed.comm.tls": configured}):
        assert Place(at).tls == known.tls


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--scheduler", "tls://127.0.0.1:1"], "TLS takes --tls-ca-file, --tls-cert and --tls-key"),
        (["--tls-cert", "a"], "--tls-ca-file and --tls-key missing"),
        (["--tls-ca-file", "a", "--tls-cert", "a", "--tls-key", "a"], "go with --scheduler tls://"),
        (["--scheduler", "tcp://h:1", "--tls-ca-file", "a", "--tls-cert", "a", "--tls-key", "a"], "is not encrypted"),
    ],
)
def test_options_that_do_not_go_together_are_told_before_anything_starts(words, told):
    given = dict(zip((w.strip("-").replace("-", "_") for w in words[::2]), words[1::2], strict=True))
    with pytest.raises(PlaceError, match=told):
        Place(**given).security()


@pytest.mark.slow
def test_workers_that_come_late_are_given_work(folder, footage, tmp_path):
    """In one step: with one worker two batches are under way, with three, six."""
    (tmp_path / "in").mkdir()
    for number in range(60):
        shutil.copy(footage / "footage/takes/pancake.mkv", tmp_path / "in" / f"{number}.mkv")
    most = 0
    with cluster.connect(Place(workers=1)) as client:
        given = ([tmp_path / "in"], tmp_path / "out", client.scheduler.address, [], str(folder / "quick.yaml"))
        run = threading.Thread(target=engine.curate, args=given)
        run.start()
        hosts.until(lambda: sum(map(len, client.processing().values())))
        client.cluster.scale(3)
        while run.is_alive():
            most = max(most, sum(map(len, client.processing().values())))
            run.join(0.1)
    assert most > 2 * 2
    assert (tmp_path / "out/summary.json").exists()
