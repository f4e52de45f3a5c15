"""How far weights in eight bits are from the weights."""

from __future__ import annotations

from pipelines.longtune.proofs.subject import NOISY, Proof, Subject
from pipelines.longtune.quantize import quantize_int8

# Rounding to 255 steps of each row's largest weight: 0.1 to 0.2 % of a stream's output on toy generators; ten times
# that would mean rows whose largest weight dwarfs the others, and is worth a look at the pictures.
BOUND = 0.02


def eight_bits(subject: Subject) -> Proof:
    """The error of a stream with `--int8`, as a share of its norm. It changes the generator: run it last."""
    name, layout = "INT8 weights stay near", subject.layout
    frames = subject.enough(layout)
    clean, noisy, text = subject.latents(frames), subject.latents(frames, seed=1), subject.text()
    exact = subject.streamed(clean, noisy, NOISY, text, layout)
    try:
        layers = quantize_int8(subject.model)
    except ModuleNotFoundError as error:
        return Proof(name, None, BOUND, f"{error.name} is not installed: pip install 'longtake[train]'", skipped=True)
    rough = subject.streamed(clean, noisy, NOISY, text, layout)
    share = float((rough - exact).norm() / exact.norm())
    return Proof(name, share, BOUND, f"{layers} layers, {frames} frames; relative error")
