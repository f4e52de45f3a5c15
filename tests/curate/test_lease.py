"""One writer to a dataset on an object store: real processes against a real server, killed, frozen, cut off."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import pytest
from stores import azure_server, proxied, s3_server

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


@pytest.mark.skipif(not shutil.which("azurite-blob"), reason="needs azurite (npm install -g azurite)")
def test_azure_has_the_same_lease():
    with azure_server() as server, ExitStack() as stack:
        first = stack.enter_context(holder(server, "az://reels/ds"))
        assert said(first) == "held"
        second = stack.enter_context(holder(server, "az://reels/ds"))
        assert said(second).startswith(
            f"busy az://reels/ds: another run is writing to this dataset (process {first.pid}"
        )
        first.kill()
        third = stack.enter_context(holder(server, "az://reels/ds"))
        assert said(third) == "held"
        third.stdin.close()
        assert said(third) == "released"


@pytest.mark.parametrize("url", ["hf://datasets/somebody/takes", "https://example.org/takes"])
def test_a_dataset_where_no_lease_can_be_is_refused(url):
    from curate.lease import exclusive
    from curate.remote import UrlError

    with pytest.raises(UrlError, match="cannot be written there"), exclusive(url):
        pass
