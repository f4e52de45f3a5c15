"""A run's folder on disk: its config, its lock, its metrics and its summary. Checkpoints have a module of
their own."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from pipelines.longtune.config import Config, differences, load_config
from pipelines.longtune.errors import TuneError, UsageError

_ENDS = 10  # steps that the first and the last loss of the summary are a mean of


class RunFolder:
    """`path` with config.yaml, metrics.jsonl, summary.json, losses.parquet, samples/, tensorboard/ and checkpoints/."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metrics = path / "metrics.jsonl"
        self.losses = path / "losses.parquet"
        self._summary = path / "summary.json"

    @classmethod
    @contextmanager
    def opened(cls, path: Path, config: Config) -> Iterator[RunFolder]:
        """The folder, held by this process alone and made for this config.

        Raises:
            UsageError: the folder belongs to a run of another config, or cannot be made.
            TuneError: another process is training into it.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = (path / ".lock").open("w")
        except OSError as error:
            raise UsageError(f"{path}: cannot write there: {error.strerror}; give another -o") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise TuneError(
                    f"{path}: another process is training into it; wait for it, or give another -o"
                ) from error
            folder = cls(path)
            folder._claim(config)
            yield folder

    def _claim(self, config: Config) -> None:
        path = self.path / "config.yaml"
        if not path.exists():
            _write_whole(path, yaml.safe_dump(config.to_json(), sort_keys=False))
            return
        theirs = load_config(str(path))
        if theirs != config:
            raise UsageError(
                f"{self.path}: holds a run of another config ({'; '.join(differences(theirs, config))}); "
                "give another -o, or the same config to resume it"
            )

    def summary(self) -> dict[str, Any] | None:
        """The summary of a finished run."""
        return json.loads(self._summary.read_text()) if self._summary.exists() else None

    def summarised(self, skipped: Mapping[str, Mapping[str, str]], nan_steps: int) -> dict[str, Any]:
        """The metrics in a few numbers, and what was passed over: `skipped` is kind → name → reason."""
        rows = self.rows()
        vae = [row for row in rows if row["stage"] == "vae"]
        main = [row for row in rows if row["stage"] == "transformer"]
        seconds = sum(row["seconds"] for row in main)
        return {
            "run": str(self.path),
            "steps": len(main),
            "first_loss": _mean_loss(main[:_ENDS]),
            "last_loss": _mean_loss(main[-_ENDS:]),
            "vae_first_loss": _mean_loss(vae[:_ENDS]),
            "vae_last_loss": _mean_loss(vae[-_ENDS:]),
            "seconds": round(sum(row["seconds"] for row in rows), 2),
            "frames_per_s": round(sum(row["frames"] for row in main) / seconds, 1),
            "data_wait": round(sum(row["data_wait"] * row["seconds"] for row in main) / seconds, 3),
            "short_takes": len(skipped["short"]),
            "bad_takes": [{"name": name, "reason": reason} for name, reason in sorted(skipped["bad"].items())],
            "nan_steps": nan_steps,
        }

    def finish(self, summary: dict[str, Any]) -> None:
        """Mark the run as done."""
        _write_whole(self._summary, json.dumps(summary, indent=1))

    def rows(self) -> list[dict[str, Any]]:
        """All metrics so far, without a last line that a kill cut short."""
        rows = []
        for line in self.metrics.read_text().splitlines() if self.metrics.exists() else []:
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    def rewind(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Drop the metrics of steps that are about to be done again."""
        _write_whole(self.metrics, "".join(json.dumps(row) + "\n" for row in self.rows() if keep(row)))

    def log(self, row: dict[str, Any]) -> None:
        """Append a row of metrics."""
        with self.metrics.open("a") as file:
            file.write(json.dumps(row) + "\n")


def _mean_loss(rows: list[dict[str, Any]]) -> float | None:
    """Of the rows that have one: a step that was skipped has none."""
    losses = [row["loss"] for row in rows if row["loss"] is not None]
    return round(sum(losses) / len(losses), 4) if losses else None


def _write_whole(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
