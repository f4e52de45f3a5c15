"""Schedules for machines that keep the time already: a systemd unit that serves all, a Kubernetes CronJob of one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from curate.schedule.runs import STOP_S
from curate.schedule.store import FOLDER_VARIABLE, Schedule, ScheduleError, Store

_TLS = "/etc/longtake/tls"
_SECRET = {"tls_ca_file": "ca.crt", "tls_cert": "tls.crt", "tls_key": "tls.key"}
"""Our options by the keys that Kubernetes' TLS Secrets have."""


def systemd(store: Store) -> str:
    """A service that runs `curate schedule serve` over the store for as long as the machine is up."""
    words = [sys.executable, "-m", "curate.cli", "schedule", "serve", "--log-format", "json"]
    return f"""[Unit]
Description=Longtake: scheduled curation
After=network-online.target
Wants=network-online.target

[Service]
ExecStart={" ".join(_word(word) for word in words)}
Environment={_quoted(f"{FOLDER_VARIABLE}={store.folder.resolve()}")}
Restart=on-failure
RestartSec=30
# The server hands the signal on to the runs, which put down what they hold.
KillMode=mixed
TimeoutStopSec={STOP_S + 30:.0f}
NoNewPrivileges=yes
PrivateTmp=yes

[Install]
WantedBy=default.target
"""


def kubernetes(schedule: Schedule, image: str, claim: str | None, tls_secret: str | None = None) -> str:
    """A CronJob of `curate run`. Kubernetes keeps the time, refuses overlaps and remembers runs in our place.

    Args:
        schedule: which; its recipe must be a bundled one, or lie on the claim.
        image: with longtake installed.
        claim: a persistent volume claim with the local paths, mounted where these lie.
        tls_secret: a Secret with `ca.crt`, `tls.crt` and `tls.key`, where the scheduler is a `tls://` one.

    Raises:
        ScheduleError: the schedule's TLS files are this machine's, and no Secret has them.
    """
    place = schedule.place
    if place.tls_cert and tls_secret is None:
        raise ScheduleError(
            f"{schedule.name}: its TLS files lie on this machine; put them into a Secret with kubectl create secret "
            f"generic NAME --from-file=ca.crt={place.tls_ca_file} --from-file=tls.crt={place.tls_cert} "
            f"--from-file=tls.key={place.tls_key}, and export with --tls-secret NAME"
        )
    volumes, mounts = [], []
    if tls_secret:
        schedule = schedule.model_copy(update={name: f"{_TLS}/{key}" for name, key in _SECRET.items()})
        # Root's, as the process is: a key that others may read is refused.
        volumes.append({"name": "tls", "secret": {"secretName": tls_secret, "defaultMode": 0o400}})
        mounts.append({"name": "tls", "mountPath": _TLS, "readOnly": True})
    command = [_literal(word) for word in ("curate", *schedule.command())]
    container: dict[str, Any] = {"name": "curate", "image": image, "command": command}
    pod: dict[str, Any] = {"restartPolicy": "Never", "containers": [container]}
    if claim:
        folders = [Path(path) for path in (*schedule.inputs, schedule.output) if path.startswith("/")]
        mounted = _common(folders)
        mounts.append({"name": "data", "mountPath": mounted})
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": claim}})
    if volumes:
        container["volumeMounts"], pod["volumes"] = mounts, volumes
    spec: dict[str, Any] = {"backoffLimit": 2, "template": {"spec": pod}}
    if schedule.longest_h:
        spec["activeDeadlineSeconds"] = round(schedule.longest_h * 3600)
    job = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": schedule.name, "labels": {"app.kubernetes.io/name": "longtake"}},
        "spec": {
            "schedule": schedule.cron,
            "timeZone": schedule.timezone,
            "concurrencyPolicy": "Forbid",
            "successfulJobsHistoryLimit": 7,
            "failedJobsHistoryLimit": 7,
            "jobTemplate": {"spec": spec},
        },
    }
    return yaml.safe_dump(job, sort_keys=False, width=110)


def _word(text: str) -> str:
    """A word of a command line in a unit file: quoted, with nothing for systemd to expand."""
    return _quoted(text).replace("$", "$$")


def _quoted(text: str) -> str:
    """An assignment in a unit file, where a dollar is a dollar."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return '"' + "".join(f"\\x{ord(c):02x}" if ord(c) < 32 else c for c in escaped) + '"'


def _literal(word: str) -> str:
    """A word of a container's command, in which Kubernetes would put its variables for $(NAME)."""
    return word.replace("$", "$$")


def _common(folders: list[Path]) -> str:
    """The folder that holds all of some files and folders."""
    parents = [[*reversed(folder.parents)] for folder in folders]
    shared = [level[0] for level in zip(*parents, strict=False) if len(set(level)) == 1]
    return str(shared[-1]) if len(shared) > 1 else "/data"
