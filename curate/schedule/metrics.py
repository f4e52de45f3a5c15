"""What Prometheus may scrape of a server of schedules."""

from __future__ import annotations

from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge

from curate.schedule.runs import ScheduledRun


class Metrics:
    """Counters and gauges in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        by, here = ["schedule"], self.registry
        self._runs = Counter(
            "longtake_runs", "Runs by how they ended, since the server started.", [*by, "state"], registry=here
        )
        self._running = Gauge("longtake_running", "1 while a run is under way.", by, registry=here)
        self._wall = Gauge("longtake_run_seconds", "How long the latest run took.", by, registry=here)
        self._success = Gauge(
            "longtake_last_success_timestamp_seconds", "When a run last ended well.", by, registry=here
        )
        self._next = Gauge("longtake_next_run_timestamp_seconds", "When the next run is due.", by, registry=here)
        self._held = Gauge(
            "longtake_dataset_items",
            "Sources and clips by state after the latest run.",
            [*by, "kind", "state"],
            registry=here,
        )
        self._hours = Gauge(
            "longtake_dataset_hours", "Hours of video left after each step of the funnel.", [*by, "step"], registry=here
        )
        self._known: set[str] = set()

    def next_run(self, schedule: str, due: datetime) -> None:
        self._known.add(schedule)
        self._next.labels(schedule).set(due.timestamp())

    def started(self, schedule: str) -> None:
        self._running.labels(schedule).set(1)

    def ended(self, run: ScheduledRun) -> None:
        """A run's end, or that it did not start."""
        name = run.schedule
        self._runs.labels(name, run.state).inc()
        if run.state == "skipped":
            return
        self._running.labels(name).set(0)
        self._wall.labels(name).set(run.wall_s or 0)
        if run.state == "done" and run.ended:
            self._success.labels(name).set(datetime.fromisoformat(run.ended).timestamp())
        for kind, states in run.summary.get("states", {}).items():
            for state, count in states.items():
                self._held.labels(name, kind, state).set(count)
        for step in run.summary.get("funnel", []):
            self._hours.labels(name, step["name"]).set(step["hours"])

    def forget(self, names: set[str]) -> None:
        """Keep no next run of a schedule that was removed."""
        for name in self._known - names:
            self._next.remove(name)
        self._known &= names
