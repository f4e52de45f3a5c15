"""What a person says of who is who, in a YAML file: read here for every stage that takes such corrections."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from curate.documents import DocumentError, read_yaml

MOST_BYTES = 16 << 20
"""Of a file of corrections: a hundred thousand of them."""

T = TypeVar("T")


def read_corrections(path: str, kind: TypeAdapter[T], form: str) -> T:
    """The corrections in a YAML file.

    Args:
        kind: what they are.
        form: how that is written, for errors.

    Raises:
        ValueError: it cannot be read, or is none; the message says where and what it should be.
    """
    try:
        with Path(path).open("rb") as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise ValueError(f"{path}: has more than {MOST_BYTES} bytes, and is not read")
        return kind.validate_python(read_yaml(text) or {})
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{path}: {where}: {first['msg']}; the form is {form}") from None
    except DocumentError as error:
        raise ValueError(f"{path}: is no YAML: {error}") from None
