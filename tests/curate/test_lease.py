"""One writer to a dataset on an object store: real processes against a real server, killed, frozen, cut off."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import pytest
from stores import KEY, SECRET, clean_environment, proxied, s3_server
from whole_job import OTHERS, other_store

TERM_S = 6.0

HOLDER = """
import sys, threading
from curate.lease import DatasetBusyError, Lease, LeaseLostError
try:
    with Lease(sys.argv[1], float(sys.argv[2])).held() as lease:
        print("held", flush=True)
        if sys.argv[3] == "read":
            sys.stdin.read()
        else:  # a lock that nobody lets go of
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()
    print("released")
except LeaseLostError as error:
    print("lost", error)
except DatasetBusyError as error:
    print("busy", error)
"""


@pytest.fixture(scope="module")
def server():
    with s3_server() as server:
        client = server.client()
        client.create_bucket(Bucket="reels")
        client.close()
        yield server


@contextmanager
def holder(store, url, how="read", term_s=TERM_S):
    """A process that holds a dataset's lease until its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, url, str(term_s), how], env=store.environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()


def said(process):
    """Its next line, or what it died of."""
    return process.stdout.readline().strip() or process.stderr.read()


def test_a_second_writer_is_refused_and_told_by_whom_until_the_first_is_done(server):
    with ExitStack() as stack:
        first = stack.enter_context(holder(server, "s3://reels/refused", term_s=10 * TERM_S))
        assert said(first) == "held"
        busy = said(stack.enter_context(holder(server, "s3://reels/refused")))
        assert busy.startswith("busy s3://reels/refused: another run is writing to this dataset")
        assert f"(process {first.pid} on {os.uname().nodename}, since 20" in busy
        assert "wait for it, or choose another -o" in busy
        first.stdin.close()
        assert said(first) == "released"
        assert said(stack.enter_context(holder(server, "s3://reels/refused"))) == "held"


def test_of_several_that_start_at_once_one_gets_it(server):
    with ExitStack() as stack:
        started = [stack.enter_context(holder(server, "s3://reels/race")) for _ in range(4)]
        words = sorted(said(process).split()[0] for process in started)
        assert words == ["busy", "busy", "busy", "held"]


def test_a_killed_owner_is_followed_after_its_term_and_not_before(server):
    with ExitStack() as stack:
        first = stack.enter_context(holder(server, "s3://reels/killed"))
        assert said(first) == "held"
        time.sleep(TERM_S / 2)
        first.kill()
        first.wait()
        began = time.monotonic()
        second = stack.enter_context(holder(server, "s3://reels/killed"))
        assert said(second) == "held"
        assert time.monotonic() - began > TERM_S
        second.stdin.close()
        assert second.wait() == 0
        assert re.search(rf"held by process {first.pid} on .* shows no life; taken over in \d s", second.stderr.read())


def test_a_frozen_owner_that_wakes_finds_its_lease_lost(server):
    with ExitStack() as stack:
        first = stack.enter_context(holder(server, "s3://reels/frozen", "lock"))
        assert said(first) == "held"
        os.kill(first.pid, signal.SIGSTOP)
        second = stack.enter_context(holder(server, "s3://reels/frozen"))
        assert said(second) == "held"
        os.kill(first.pid, signal.SIGCONT)
        lost = said(first)
        assert lost.startswith("lost")
        assert "stopped writing" in lost
        second.stdin.close()
        assert said(second) == "released"


def test_an_owner_that_is_cut_off_stops_even_where_it_waits_for_a_lock(server):
    with proxied(server) as proxy, holder(proxy, "s3://reels/cut", "lock") as first:
        assert said(first) == "held"
        proxy.away = True
        began = time.monotonic()
        lost = said(first)
        assert lost.startswith("lost")
        assert f"could not be renewed for {TERM_S:g} s" in lost
        assert time.monotonic() - began < 4 * TERM_S


def test_lost_answers_lose_no_lease(server):
    shares = {"reset after": 0.3, "500": 0.1, "503": 0.1, "reset": 0.1, "truncated": 0.1}
    with proxied(server, shares, seed=3) as proxy, holder(proxy, "s3://reels/faulty", term_s=3 * TERM_S) as first:
        assert said(first) == "held"
        time.sleep(2 * TERM_S)  # four renewals
        first.stdin.close()
        assert said(first) == "released"
        assert proxy.faults["reset after"]


@pytest.mark.parametrize("kind", OTHERS)
def test_other_stores_have_the_same_lease(kind):
    with ExitStack() as stack:
        try:
            store, place = stack.enter_context(other_store(kind))
        except FileNotFoundError as error:
            pytest.skip(str(error))
        url = f"{place}/ds"
        started = [stack.enter_context(holder(store, url)) for _ in range(3)]
        words = {process: said(process) for process in started}
        (first,) = [process for process, word in words.items() if word == "held"]
        busy = f"busy {url}: another run is writing to this dataset (process {first.pid}"
        assert [word.startswith(busy) for word in words.values()].count(True) == 2
        first.kill()
        second = stack.enter_context(holder(store, url))
        assert said(second) == "held"
        second.stdin.close()
        assert said(second) == "released"
        assert said(stack.enter_context(holder(store, url))) == "held"


@pytest.mark.parametrize("url", ["hf://datasets/somebody/takes", "https://example.org/takes"])
def test_a_dataset_where_no_lease_can_be_is_refused(url):
    from curate.lease import exclusive
    from curate.remote import UrlError

    with pytest.raises(UrlError, match="cannot be written there"), exclusive(url):
        pass


def test_the_hubs_buckets_are_asked_with_the_hubs_keys_alone(tmp_path):
    """Keys of somebody's for AWS, which their environment holds, go to nobody else."""
    environment = clean_environment() | {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    environment |= {"AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    words = [sys.executable, "-m", "curate.cli", "status", "hf://buckets/org/reels/ds"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Generate S3 credentials" in done.stderr
    assert "under [hf] into ~/.aws/credentials" in done.stderr
