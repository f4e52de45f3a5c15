"""Arrow types as the Hub's dataset cards write them: the `dataset_info` of a card's YAML."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

_NAMES = {"double": "float64", "float": "float32", "halffloat": "float16"}
"""Where `datasets` has another name for a type than Arrow."""


def features(schema: pa.Schema, media: frozenset[str] = frozenset()) -> list[dict[str, Any]]:
    """The features of a schema.

    Args:
        media: fields that are files of video, which `datasets` decodes.
    """
    return [{"name": f.name, **({"dtype": "video"} if f.name in media else _kind(f.type))} for f in schema]


def _kind(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_struct(kind):
        return {"struct": [{"name": kind.field(n).name, **_kind(kind.field(n).type)} for n in range(kind.num_fields)]}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = _kind(kind.value_type)
        return {"list": inner.get("dtype") or inner.get("struct") or inner}
    return {"dtype": _NAMES.get(str(kind), str(kind))}
