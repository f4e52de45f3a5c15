"""Other people's text on a terminal: file names, captions, subtitles and what a decoder says of them."""

from __future__ import annotations


def legible(text: str) -> str:
    """A text in which nothing steers a terminal or turns the direction of writing: such letters are told as escapes.

    Line breaks stay; whoever wants one line parts them.
    """
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)
