"""Tells somebody that a scheduled run failed: a program of theirs, or a web hook."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from curate.schedule.store import Schedule

COMMAND_S = 60.0
"""How long a hook's program may take, seconds: it tells somebody, it does no work."""
POST_S = 10.0
TRIES = 3
"""A chat server that restarts is back within the seconds that three tries take."""


class _Stay(urllib.request.HTTPRedirectHandler):
    """Redirects are not followed: a POST would arrive as a GET without its message, wherever the answer says."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_Stay)


def tell(schedule: Schedule, run: Mapping[str, Any]) -> dict[str, str]:
    """Call a schedule's hooks with a run as JSON. Returns by hook `ok`, or what went wrong; nothing is raised."""
    # `text` is what Slack, Mattermost and the like show of a message.
    body = json.dumps(
        {**run, "text": f"curate schedule {run['schedule']}: {run['state']}: {run['error'] or run['drift']}"}
    )
    found = {}
    if schedule.on_failure_command:
        found["command"] = _command(schedule.on_failure_command, body)
    if schedule.on_failure_webhook:
        found["webhook"] = _post(schedule.on_failure_webhook, body)
    return found


def _command(words: list[str], body: str) -> str:
    try:
        ended = subprocess.run(words, input=body, text=True, capture_output=True, timeout=COMMAND_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "ok" if ended.returncode == 0 else f"ended with {ended.returncode}: {ended.stderr.strip()[-300:]}"


def _post(url: str, body: str) -> str:
    request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})  # noqa: S310 - http(s) only
    problem = ""
    for number in range(TRIES):
        if number:
            time.sleep(2**number)
        try:
            with _OPENER.open(request, timeout=POST_S):
                return "ok"
        except urllib.error.HTTPError as error:
            problem = f"{error.code} {error.reason}"
            error.close()
            if error.code < 500 and error.code != 429:
                break
        except OSError as error:
            problem = str(error)
    # The address may hold a secret: it is the schedule's to know, not the history's.
    return f"no answer to trust: {problem}"
