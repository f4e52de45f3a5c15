"""What can be set about each training method. No torch here: a config is read and checked before torch is loaded.

`method: {name: …}` in a run's YAML names one of these; `methods/<name>.py` is the method itself.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TeacherForcingOptions(_Options):
    """Flow matching on real takes, every block beside the clean video before it."""

    name: Literal["teacher_forcing"] = "teacher_forcing"


MethodOptions = TeacherForcingOptions
