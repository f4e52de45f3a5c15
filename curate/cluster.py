"""Dask: a local cluster or somebody's scheduler, and a bounded number of tasks under way on it.

Tasks are handed over in batches that last about half a second, so that a million cheap tasks are not a million
futures, and no more batches than a few per worker thread are under way at any time.
"""

from __future__ import annotations

import itertools
import os
import queue
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import dask
import distributed
from distributed.scheduler import KilledWorker

from curate import __version__, hosts
from curate.place import LOCAL, ClusterError, Place
from curate.work import PROGRESS, JobError, Receipt, Task, perform

BATCH_S = 0.5
"""Aimed length of a batch: long against Dask's millisecond per task, short enough that losing one does not matter."""
LARGEST_BATCH = 64
IN_FLIGHT_PER_THREAD = 2
"""One batch running and one waiting, so that no worker idles while its receipt travels."""
NO_WORKERS_S = 600.0
"""How long a job waits for workers once the last has gone, seconds: a cloud brings a new machine within minutes."""
COUNT_EVERY_S = 2.0
"""Seconds between two looks at how many threads there are: one call of a millisecond, and a worker that has come is
given work long before its first batch would be done."""
UPKEEP_EVERY = 10_000
"""Tasks after which it is seen to that what they wrote is not too many files: as many as one task packs. With a fifth
of that, what is merged again and again cost half as much as the tasks, where these were of milliseconds."""
STARTS = 3
"""How often a local cluster is started whose workers die meanwhile; a kill by chance hardly comes three times."""
DEAD_BEFORE_START = 100
"""Deaths in a row of workers that had not begun a task, after which it is the workers that are at fault."""

_FORGETFUL = {"distributed.admin.low-level-log-length": 10}
"""Dask keeps the last thousand messages of each connection for its developers. Ours are batches of tasks: the scheduler
grew by 40 MB before it stayed as it was."""


@contextmanager
def connect(place: Place = LOCAL, warn: Callable[[str], None] = lambda line: None) -> Iterator[distributed.Client]:
    """A client of a scheduler, or of a cluster started on this machine for as long as the block lasts.

    Args:
        place: which.
        warn: gets a line for each thing that the user should know of somebody's scheduler, or of a start that failed.

    Raises:
        PlaceError: the files for TLS will not do.
        ClusterError: the scheduler cannot be reached, or it or a worker has another Longtake, or no worker starts.
    """
    if place.scheduler is not None:
        with dask.config.set(_FORGETFUL), hosts.client(place) as client:
            hosts.look(client, place, warn)
            yield client
        return
    # A dead worker fails its tasks at once: how often each is tried again is counted here, task by task, because
    # Dask counts a death against every task that waited on the worker.
    settings = {
        "distributed.scheduler.allowed-failures": 0,
        # Dask looks into every process fifty to a hundred times a second; what our tasks cost, their receipts say.
        "distributed.worker.profile.enabled": False,
        "distributed.admin.tick.interval": "500ms",
        "distributed.admin.log-format": "%(levelname)s %(message)s",
    }
    with (
        dask.config.set(settings | _FORGETFUL),
        _local(place.workers or os.cpu_count() or 1, warn) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _local(workers: int, warn: Callable[[str], None]) -> distributed.LocalCluster:
    """A cluster on this machine. Dask gives up on one of which a worker dies before it is up, so that is tried again.

    Raises:
        ClusterError: each time one has died.
    """
    for left in reversed(range(STARTS)):
        try:
            return distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=50,
            )
        except RuntimeError as error:
            if not left:
                raise ClusterError(
                    f"the local workers do not start ({error}); see whether there is memory for {workers} of them, "
                    "or ask for fewer with --workers"
                ) from error
            warn(f"a worker died while the local cluster started ({error}); it is started again")
    raise AssertionError("the last start returns or raises")


@contextmanager
def _reached() -> Iterator[None]:
    """Turn what Dask's client raises where the scheduler is gone into words.

    Raises:
        JobError: it is gone.
    """
    try:
        yield
    except (distributed.CancelledError, OSError) as error:
        raise JobError(f"the Dask cluster went away ({error}); run the same command again to go on") from error


@_reached()
def threads(client: distributed.Client) -> int:
    """Worker threads of the cluster, waiting a minute for the first.

    Raises:
        ClusterError: no worker came.
        JobError: the cluster went away.
    """
    end = time.monotonic() + 60
    while True:
        revive(client)
        try:
            client.wait_for_workers(1, timeout=COUNT_EVERY_S)
            break
        except TimeoutError as error:
            if time.monotonic() > end:
                raise ClusterError("the Dask scheduler has no workers; start some and run again") from error
    return sum(int(w["nthreads"]) for w in client.scheduler_info(n_workers=-1)["workers"].values())


def revive(client: distributed.Client) -> None:
    """Start what is missing of a local cluster: a nanny gives up on a worker that dies while it starts.

    Dask forgets such a worker after its `lost-worker-timeout` of 15 s; until then this has no effect.
    """
    local = client.cluster
    if local is not None and len(client.nthreads()) < len(local.worker_spec):
        local.scale(len(local.worker_spec))


@_reached()
def require_resources(client: distributed.Client, stage: str, resources: dict[str, float]) -> None:
    """Refuse a stage whose tasks would wait for ever.

    Raises:
        ClusterError: no worker offers what the stage needs.
        JobError: the cluster went away.
    """
    for worker in client.scheduler_info(n_workers=-1)["workers"].values():
        if all(worker.get("resources", {}).get(name, 0) >= amount for name, amount in resources.items()):
            return
    wanted = " ".join(f"{name}={amount:g}" for name, amount in resources.items())
    raise ClusterError(f"stage {stage!r} needs workers with {wanted}; start them with --resources '{wanted}'")


def perform_alike(
    version: str, dataset_url: str, recipe_text: str, tasks: list[Task], ticket: str | None = None
) -> list[Receipt]:
    """`work.perform` on a worker that may have come after all others were looked at.

    Raises:
        JobError: as of `perform`, or the worker has another Longtake than the one of the version.
    """
    if version != __version__:
        raise JobError(hosts.other_version(f"worker {distributed.get_worker().address}", __version__, version))
    return perform(dataset_url, recipe_text, tasks, ticket)


def _ticket() -> str:
    return uuid.uuid4().hex


@dataclass
class _Batch:
    tasks: list[Task]
    after: _Group | None = None
    deaths: int = 0
    """How many workers have died while they ran it. One that died while it waited is not its fault."""
    upkeep: bool = False
    """Of no source and of no stage: not counted."""
    ticket: str = field(default_factory=_ticket)


@dataclass
class _Group:
    """Tasks of one source of which the last waits for the others."""

    waiting: int
    last: Task
    lost: bool = False


@dataclass
class Driver:
    """Keeps a bounded number of batches under way and calls `done` with each task's receipt."""

    client: distributed.Client
    dataset_url: str
    recipe_text: str
    attempts: int
    done: Callable[[Task, Receipt], None]
    resources: dict[str, float] = field(default_factory=dict)
    heard: Callable[[str, float], None] = lambda task, video_s: None
    """Called with a task's name and its seconds of video so far, now and then while it runs."""
    upkeep: Callable[[], list[Task]] = list
    """Asked every `UPKEEP_EVERY` tasks for what else there is to do meanwhile, unless some of that is under way."""

    def run(self, sources: Iterable[list[Task]]) -> None:
        """Do all tasks. Each list holds one source's tasks, of which the last needs the others done.

        Raises:
            JobError: a task failed in a way that would fail every other, or the cluster went away.
        """
        self._incoming = iter(sources)
        self._ready: deque[_Batch] = deque()
        self._under_way: dict[distributed.Future, _Batch] = {}
        self._mean_s = BATCH_S
        self._began: Counter[str] = Counter()
        self._unbegun = 0
        self._since_upkeep = self._upkeeping = 0
        room, counted = max(2, IN_FLIGHT_PER_THREAD * threads(self.client)), time.monotonic()
        self._manned = counted
        finished: queue.SimpleQueue[distributed.Future] = queue.SimpleQueue()
        with _reached():
            self.client.subscribe_topic(PROGRESS, lambda event: self._told(event[1]))
        try:
            while True:
                while len(self._under_way) < room and (batch := self._next()):
                    future = self._submit(batch)
                    self._under_way[future] = batch
                    future.add_done_callback(finished.put)
                if not self._under_way:
                    return
                with suppress(queue.Empty):
                    future = finished.get(timeout=COUNT_EVERY_S)
                    self._finish(future, self._under_way.pop(future))
                if time.monotonic() - counted >= COUNT_EVERY_S:
                    room, counted = self._room(room), time.monotonic()
        finally:
            with suppress(OSError):  # of a cluster that is gone
                self.client.unsubscribe_topic(PROGRESS)
                self.client.cancel(list(self._under_way), force=True)

    def _room(self, before: int) -> int:
        """Batches that may be under way, now that workers have come or gone.

        Raises:
            JobError: there has been nobody to do any for too long.
        """
        try:
            revive(self.client)
            manned = sum(self.client.nthreads().values())
        except (OSError, TimeoutError):  # the batches will tell whether the scheduler is gone
            return before
        if manned:
            self._manned = time.monotonic()
        elif time.monotonic() - self._manned > NO_WORKERS_S:
            raise JobError(
                f"the Dask cluster has had no workers for {NO_WORKERS_S / 60:g} minutes; "
                "start some and run the same command again to go on"
            )
        return max(2, IN_FLIGHT_PER_THREAD * manned)

    def _submit(self, batch: _Batch) -> distributed.Future:
        given = (__version__, self.dataset_url, self.recipe_text, batch.tasks, batch.ticket)
        with _reached():
            return self.client.submit(perform_alike, *given, pure=False, resources=self.resources or None)

    def _told(self, message: dict[str, Any]) -> None:
        if "began" in message:
            self._began[message["began"]] += 1
        else:
            self.heard(message["task"], message["video_s"])

    def _next(self) -> _Batch | None:
        if self._ready:
            return self._ready.popleft()
        size = min(LARGEST_BATCH, max(1, int(BATCH_S / max(self._mean_s, 1e-4))))
        tasks: list[Task] = []
        for source in itertools.islice(self._incoming, size):
            if len(source) == 1:
                tasks += source
                continue
            group = _Group(len(source) - 1, source[-1])
            self._ready += [_Batch([task], group) for task in source[:-1]]
        if tasks:
            return _Batch(tasks)
        return self._ready.popleft() if self._ready else None

    def _finish(self, future: distributed.Future, batch: _Batch) -> None:
        try:
            with _reached():
                receipts: list[Receipt] = future.result()
        except KilledWorker:
            self._lost(batch)
            return
        except ImportError as error:  # of a worker that came after the others were looked at
            raise JobError(
                f"a worker cannot import longtake ({error}): install it there, in this version, and run again"
            ) from error
        self._unbegun = 0
        self._began.pop(batch.ticket, None)
        if batch.upkeep:
            self._upkeeping -= 1
            return
        for task, receipt in zip(batch.tasks, receipts, strict=True):
            seconds = sum(receipt.seconds.values())
            self._mean_s += 0.2 * (seconds - self._mean_s)
            self.done(task, receipt)
        self._arrived(batch.after)
        self._since_upkeep += len(batch.tasks)
        if self._since_upkeep >= UPKEEP_EVERY and not self._upkeeping:
            tasks = self.upkeep()
            self._ready += [_Batch([task], upkeep=True) for task in tasks]
            self._since_upkeep, self._upkeeping = 0, len(tasks)

    def _arrived(self, group: _Group | None) -> None:
        if group is None:
            return
        group.waiting -= 1
        if not group.waiting:
            self._ready.appendleft(_Batch([quarantine(group.last, self.attempts) if group.lost else group.last]))

    def _lost(self, batch: _Batch) -> None:
        """A worker died with the batch: each task is tried again by itself, a bounded number of times.

        Dask fails what waited on a dead worker as well as what ran there, and a scheduler of somebody's own starts a
        batch several times before it says that it was lost. So what counts is how often a worker said that it began.
        """
        began = self._began.pop(batch.ticket, 0)
        if not began:
            self._unbegun += 1
            if self._unbegun > DEAD_BEFORE_START:
                raise JobError(f"{self._unbegun} workers died in a row before they began a task; see their logs")
            self._ready.appendleft(batch)
            return
        self._unbegun = 0
        # Of several tasks one is to blame: each is tried by itself before any is judged.
        alone = len(batch.tasks) == 1
        deaths = batch.deaths + (began if alone else 1)
        if not alone or deaths < self.attempts:
            self._ready += [replace(batch, tasks=[task], deaths=deaths, ticket=_ticket()) for task in batch.tasks]
            return
        (task,) = batch.tasks
        if task["kind"] in {"table", "digests", "group", "pack", "merge"}:
            raise JobError(f"the worker died {deaths} times on {_name(task)}; see the worker's log")
        if batch.after is not None:
            batch.after.lost = True
            self._arrived(batch.after)
        else:
            self._ready.append(_Batch([quarantine(task, deaths)]))


def quarantine(task: Task, attempts: int) -> Task:
    """The task that files another one as failed."""
    message = f"a worker died {attempts} times while it had this source; try it alone, with more memory"
    return {"kind": "quarantine", "task": task, "message": message}


def _name(task: Task) -> str:
    named: Any = task.get("stage") or task.get("table") or task["step"]["stage"]
    return f"{task['kind']} task {named!r}"
