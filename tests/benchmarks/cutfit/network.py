"""The classifier's network as PyTorch trains it, and its weights as `stages.cuts.classifier` reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from measure import Measured
from torch import nn
from torch.nn import functional

from stages.cuts.classifier import DILATIONS, KINDS
from stages.cuts.evidence import MIRRORED

WIDTH = 48
WINDOW, BATCH = 256, 24
WEIGHTS = (1.0, 6.0, 8.0, 2.0, 2.0, 2.0)
"""Of the classes in the loss: a hard cut is one frame in hundreds."""
FLANK = 2
"""Frames beside a transition that count little: where it begins is a matter of a level or two."""
BESIDE = 0.3


class Network(nn.Module):
    """(films, channels, frames) to (films, kinds, frames)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Conv1d(channels, WIDTH, 1)
        self.a = nn.ModuleList(nn.Conv1d(WIDTH, WIDTH, 3, padding=d, dilation=d) for d in DILATIONS)
        self.b = nn.ModuleList(nn.Conv1d(WIDTH, WIDTH, 3, padding=d, dilation=d) for d in DILATIONS)
        self.outer = nn.Conv1d(WIDTH, len(KINDS), 1)
        self.dropout = nn.Dropout(0.15)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.inner(x))
        for a, b in zip(self.a, self.b, strict=True):
            x = x + self.dropout(torch.relu(b(torch.relu(a(x)))))
        return self.outer(x)


def targets(film: Measured) -> tuple[np.ndarray, np.ndarray]:
    """Each frame's class and its weight in the loss."""
    kinds, weights = np.zeros(len(film.channels), np.int64), np.ones(len(film.channels), np.float32)
    for start, end, kind in film.transitions:
        # The frame after a gradual transition still differs from the one before it.
        inside = slice(start, start + 1) if start == end else slice(start, end + 1)
        weights[max(0, inside.start - FLANK) : inside.stop + FLANK] = BESIDE
        weights[inside] = 1
        kinds[inside] = KINDS.index(kind)
    for start, end in film.unclear:
        weights[max(0, start) : end] = 0
    return kinds, weights


def fit(films: Sequence[Measured], steps: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Fit the network to films; its weights by the names that the classifier expects."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    every = np.concatenate([film.channels for film in films])
    mean, spread = every.mean(axis=0), every.std(axis=0) + 1e-3
    data = [((film.channels - mean) / spread, *targets(film)) for film in films]
    lengths = np.array([len(film.channels) for film in films], float)
    network = Network(every.shape[1]).train()
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    weights, total = torch.tensor(WEIGHTS), 0.0
    for step in range(1, steps + 1):
        chosen = [_window(*data[n], rng) for n in rng.choice(len(data), BATCH, p=lengths / lengths.sum())]
        x, kinds, counts = (torch.from_numpy(np.stack(part)) for part in zip(*chosen, strict=True))
        loss = functional.cross_entropy(network(x), kinds, weight=weights, reduction="none", label_smoothing=0.005)
        loss = (loss * counts).sum() / counts.sum()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total += loss.item()
        if step % 500 == 0:
            print(f"step {step}: loss {total / 500:.4f}", flush=True)
            total = 0.0
    return {"mean": mean, "spread": spread, **_exported(network)}


def _window(x: np.ndarray, kinds: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """A random stretch, at times mirrored and with noise. What lies beyond a short film does not count."""
    start = int(rng.integers(-WINDOW // 8, max(1, len(x) - WINDOW * 7 // 8)))
    start = max(0, min(start, len(x) - WINDOW))
    x, kinds, weights = (part[start : start + WINDOW] for part in (x, kinds, weights))
    for columns in MIRRORED:
        if rng.random() < 0.5:
            x = x.copy()
            x[:, columns] = x[:, columns][:, ::-1]
    if rng.random() < 0.3:
        x = x + rng.normal(0, 0.1, x.shape)
    short = WINDOW - len(x)
    if short:
        x, kinds, weights = np.pad(x, ((0, short), (0, 0))), np.pad(kinds, (0, short)), np.pad(weights, (0, short))
    return x.T.astype(np.float32), kinds, weights


def _exported(network: Network) -> dict[str, np.ndarray]:
    def of(layer: nn.Module, name: str) -> dict[str, np.ndarray]:
        taps = layer.weight.detach().numpy().transpose(2, 1, 0)
        return {f"{name}_weight": taps if len(taps) > 1 else taps[0], f"{name}_bias": layer.bias.detach().numpy()}

    found = of(network.inner, "in") | of(network.outer, "out")
    for n, (a, b) in enumerate(zip(network.a, network.b, strict=True)):
        found |= of(a, f"a{n}") | of(b, f"b{n}")
    return found


def save(weights: dict[str, np.ndarray], path: Path) -> None:
    """Write weights in half precision, the rest in single: some 140 kB."""
    kept = {name: v.astype(np.float16 if name.endswith("weight") else np.float32) for name, v in weights.items()}
    np.savez_compressed(path, **kept)
