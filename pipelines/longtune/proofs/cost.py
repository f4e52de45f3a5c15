"""That a block costs the same however long the video is, in bytes and in arithmetic.

Time is not measured here: on a shared machine it says more of the neighbours (tests/benchmarks/blocks.py prints it).
"""

from __future__ import annotations

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pipelines.longtune.proofs.subject import Proof, Subject
from pipelines.longtune.stream import CausalStream


def flat(subject: Subject) -> list[Proof]:
    """Bytes of the cache, and operations of a block, where the window is first full and at `subject.far` frames."""
    layout, names = subject.layout, ("cache bytes do not grow", "operations of a block do not grow")
    if layout.window < 0:
        reason = "window -1 keeps all of the past: give causal.window a length for videos of any length"
        return [Proof(name, None, 0.0, reason, skipped=True) for name in names]
    full = -(-(layout.window + layout.sink) // layout.block) + 1
    last = max(full + 1, -(-subject.far // layout.block))
    stream = CausalStream(subject.model, subject.text(), layout)
    bytes_at: dict[int, int] = {}
    operations_at: dict[int, int] = {}
    for number in range(1, last + 1):
        block = subject.latents(layout.block, seed=number)
        if number in (full, last):
            # The counter does not see fused attention on a CPU.
            with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
                stream.velocity(block, 0.5)
            operations_at[number] = counter.get_total_flops()
        stream.commit(block)
        bytes_at[number] = stream.cache.nbytes
    where = f"latent frame {last * layout.block} against {full * layout.block}"
    return [
        Proof(names[0], _growth(bytes_at, full, last), 0.0, f"{bytes_at[full] / 1e6:.3f} MB; {where}"),
        Proof(names[1], _growth(operations_at, full, last), 0.0, f"{operations_at[full] / 1e9:.3f} GFLOP; {where}"),
    ]


def _growth(at: dict[int, int], first: int, last: int) -> float:
    return at[last] / at[first] - 1
