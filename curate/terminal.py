"""Other people's text on a terminal: file names, captions, subtitles and what a decoder says of them."""

from __future__ import annotations

from typing import Any

from rich.table import Column, Table


def legible(text: str) -> str:
    """A text in which nothing steers a terminal or turns the direction of writing: such letters are told as escapes.

    Line breaks stay; whoever wants one line parts them.
    """
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)


def whole_table(*names: str, **options: Any) -> Table:
    """A table whose cells go on in the next line where they are too long, and lose nothing."""
    return Table(*(Column(name, overflow="fold") for name in names), **options)
