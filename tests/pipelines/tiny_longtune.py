"""A generator of the real class at toy size, and batches for it: what the tests of the training methods share."""

from __future__ import annotations

import torch

from pipelines.longtune.config import CausalConfig
from pipelines.longtune.methods.method import LatentBatch, Prompt, Tools
from pipelines.longtune.model.wan_causal import CausalWanTransformer3DModel

SIZE = {"num_attention_heads": 2, "attention_head_dim": 24, "in_channels": 4, "out_channels": 4, "text_dim": 16}
SIZE |= {"freq_dim": 32, "ffn_dim": 64, "num_layers": 2}
LAYOUT = CausalConfig(block=2, window=4, sink=2)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_model(seed: int = 0, **more: int) -> CausalWanTransformer3DModel:
    torch.manual_seed(seed)
    return CausalWanTransformer3DModel(**{**SIZE, **more})


def embed(captions) -> torch.Tensor:
    """Text embeddings that differ by caption, and nothing else."""
    return torch.stack([torch.randn(5, 16, generator=rng(sum(caption.encode()))) for caption in captions])


def make_tools(model, layout: CausalConfig = LAYOUT, span: int = 8, seed: int = 0) -> Tools:
    return Tools(model, None, embed, layout, span, 5.0, torch.device("cpu"), seed)


def make_batch(length: int = 8, size: int = 1, seed: int = 0, height: int = 4, width: int = 4, **change) -> LatentBatch:
    values = {
        "latents": torch.randn(size, 4, length, height, width, generator=rng(seed)),
        "frames": torch.arange(length),
        "target": torch.ones(size, length, dtype=torch.bool),
        "captions": [f"take {number}" for number in range(size)],
        "timelines": [[Prompt(0, f"take {number}")] for number in range(size)],
        "keys": [f"key{number}" for number in range(size)],
    }
    return LatentBatch(**{**values, **change})


def gradients(model) -> dict[str, torch.Tensor]:
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


class Spy(torch.nn.Module):
    """A generator that notes what it is asked and what it answers; given a function, it answers with that."""

    def __init__(self, model) -> None:
        super().__init__()
        self._answer = model
        self.calls: list[dict] = []
        self.velocities: list[torch.Tensor] = []
        self.config = type("Config", (), {"patch_size": (1, 2, 2)})

    def forward(self, latents, timestep, text, **more):
        self.calls.append(
            {"latents": latents, "timestep": timestep, "text": text, "grad": torch.is_grad_enabled()} | more
        )
        answer = self._answer(latents=latents, timestep=timestep, text=text, **more)
        velocity, fresh = answer if isinstance(answer, tuple) else (answer, [])
        self.velocities.append(velocity.detach())
        return velocity, fresh
