"""What was measured of a character, in words. Nothing is guessed: no age, no sex, no origin."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
LOW_HZ, HIGH_HZ = 123.0, 177.0
"""Below it a voice is low, above it high: three equal steps of pitch between 85 and 255 Hz, in which most adults speak
(Baken and Orlikoff, Clinical Measurement of Speech and Voice, 2000)."""


def described(row: Row) -> str:
    """Of a row of `characters`: `seen 12.3 s, speaks 4.1 s, 80 % of it in the picture, low voice (about 110 Hz)`."""
    seen, speaks = row["screen_s"], row["speaking_s"]
    parts = [f"seen {seen:.1f} s" if seen else ""]
    if speaks:
        both = f", {min(1.0, row['on_screen_s'] / speaks):.0%} of it in the picture" if seen else ""
        parts.append(f"speaks {speaks:.1f} s{both}")
    parts.append(voice(row["pitch_hz"]) if row["pitch_hz"] else "")
    if not seen:
        parts.append("a voice whose face is not known")
    elif not speaks:
        parts.append("a face whose voice is not known")
    return ", ".join(part for part in parts if part)


def voice(pitch_hz: float) -> str:
    """A pitch in a word and a rounded number."""
    word = "low" if pitch_hz < LOW_HZ else "high" if pitch_hz > HIGH_HZ else "middle"
    return f"{word} voice (about {5 * round(pitch_hz / 5)} Hz)"
