"""The page of a published dataset: YAML that the Hub and `datasets` read, and what people read below it.

Names, licences and captions are other people's text: in a table or a line nothing of them is markup.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import jinja2
import pyarrow as pa
import yaml

from pipelines.push.facts import as_json, size_category
from pipelines.push.features import features
from pipelines.push.files import CARD, DATA, LICENCE, SHARDS
from pipelines.push.licences import OTHER
from pipelines.push.table import SPLITS, Choice

CLIPS, WEBDATASET = "clips", "webdataset"
"""Names of the configurations."""

KEPT = "<!-- What stands below this line is yours: curate push keeps it. -->"
"""The page's last line; what is written under it by hand stays there."""

_MARKUP = re.compile(r"([\\`*_\[\]<>|#~])")
_MEDIA = frozenset({"mp4"})


@dataclass(frozen=True)
class Said:
    """What the publisher says."""

    name: str
    """As people call it."""
    link: str
    """What a reader gives to `load_dataset`."""
    license: str
    license_link: str | None
    contact: str | None
    on_hub: bool
    choice: Choice

    @property
    def citation(self) -> str:
        """A BibTeX entry without a year: the repository's commits say when."""
        key = re.sub(r"[^a-z0-9]+", "_", self.name.lower()).strip("_") or "dataset"
        where = f"https://huggingface.co/datasets/{self.link}" if self.on_hub else self.name
        title = f"  title = {{{_tex(self.name)}}},"
        made = "  note = {Long takes curated with Longtake},"
        return "\n".join([f"@misc{{{key},", title, made, f"  howpublished = {{{_tex(where)}}}", "}"])


def page(said: Said, facts: dict[str, Any], schema: pa.Schema, sample: pa.Schema | None, below: str = "") -> str:
    """The whole README.md.

    Args:
        schema: of the Parquet files.
        sample: of a sample in the shards; None where they are not published.
        below: what stands there already under `KEPT`.
    """
    head = yaml.safe_dump(metadata(said, facts, schema, sample), sort_keys=False, allow_unicode=True, width=110)
    text = (
        _templates()
        .get_template("card.md.j2")
        .render(said=said, facts=facts, columns=_columns(schema), shards=sample is not None, splits=SPLITS, data=DATA)
    )
    return f"---\n{head}---\n\n{text.strip()}\n\n{KEPT}\n{below}"


def licence_page(said: Said, facts: dict[str, Any]) -> str:
    """LICENSE.md of a dataset whose sources have licences of their own."""
    return _templates().get_template("licence.md.j2").render(said=said, facts=facts).strip() + "\n"


def below(text: str) -> str:
    """What somebody wrote under the last line of a page."""
    return text.partition(f"{KEPT}\n")[2]


def metadata(said: Said, facts: dict[str, Any], schema: pa.Schema, sample: pa.Schema | None) -> dict[str, Any]:
    """The YAML, in the Hub's terms."""
    found: dict[str, Any] = {"license": said.license}
    if said.license == OTHER:
        found["license_name"] = "see-license"
        found["license_link"] = said.license_link or LICENCE
    found |= {
        "pretty_name": said.name,
        "task_categories": ["text-to-video"],
        "size_categories": [size_category(facts["clips"])],
        "tags": ["video", "long-takes", "longtake", *(["webdataset"] if sample is not None else [])],
        "configs": [{"config_name": CLIPS, "default": True, "data_files": _files(facts, f"{DATA}{{}}-*.parquet")}],
        "dataset_info": [_info(CLIPS, features(schema), facts, "table_bytes")],
    }
    if sample is not None:
        found["configs"].append(
            {"config_name": WEBDATASET, "data_files": _files(facts, f"{SHARDS}{{}}/*.tar")},
        )
        found["dataset_info"].append(_info(WEBDATASET, features(sample, _MEDIA), facts, "bytes"))
    return found


def _files(facts: dict[str, Any], pattern: str) -> list[dict[str, str]]:
    return [{"split": SPLITS.get(split, split), "path": pattern.format(split)} for split in facts["splits"]]


def _info(name: str, told: list[dict[str, Any]], facts: dict[str, Any], size: str) -> dict[str, Any]:
    splits = [
        {"name": SPLITS.get(split, split), "num_bytes": of[size], "num_examples": of["clips"]}
        for split, of in facts["splits"].items()
    ]
    total = sum(of[size] for of in facts["splits"].values())
    return {"config_name": name, "features": told, "splits": splits, "download_size": total, "dataset_size": total}


def _columns(schema: pa.Schema) -> list[tuple[str, str, str]]:
    """Name, type and meaning of each column."""
    return [(f.name, _type(f.type), (f.metadata or {}).get(b"doc", b"").decode()) for f in schema]


def _type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"list of {_type(kind.value_type)}"
    return "struct" if pa.types.is_struct(kind) else str(kind)


def cell(value: Any) -> str:
    """A value as plain text within a table or a line of Markdown."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())
    return _MARKUP.sub(r"\\\1", line)


def _tex(text: str) -> str:
    return re.sub(r"([{}\\\\%$#&_])", r"\\\1", text)


def number(value: float) -> str:
    return f"{value:.4g}"


def fenced(text: str, language: str = "") -> str:
    """A block of code, whatever stands in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _templates() -> jinja2.Environment:
    found = jinja2.Environment(  # noqa: S701 - Markdown, in which `cell` escapes
        loader=jinja2.PackageLoader("pipelines.push"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    found.filters |= {"cell": cell, "number": number, "fenced": fenced, "as_json": as_json}
    return found


__all__ = ["CARD", "Said", "below", "licence_page", "page"]
