"""Every method that learns from takes does learn: its loss on two moving patterns falls."""

import pytest
import torch

from pipelines.longtune.config import CausalConfig
from pipelines.longtune.methods import make_method
from pipelines.longtune.methods.options import METHODS, RecyclingOptions
from tests.pipelines.tiny_longtune import make_batch, make_model, make_tools, rng

STEPS, ENDS = 60, 15
OPTIONS = {
    "teacher_forcing": {"recycling": RecyclingOptions(warm_up=40)},
    "diffusion_forcing": {},
    "far": {},
    "random_masks": {},
    "rolling_forcing": {"blocks": 2},
}


def moving(seed: int) -> torch.Tensor:
    """Latents of two patterns that go round, shape (2, 4, 8, 4, 8)."""
    still = torch.randn(2, 4, 1, 1, 8, generator=rng(seed)).expand(2, 4, 1, 4, 8)
    return torch.cat([still.roll(frame, dims=-1) for frame in range(8)], dim=2)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_the_loss_falls(name):
    layout = CausalConfig(block=2, window=4, sink=0 if name == "far" else 2)
    model = make_model()
    method = make_method(METHODS[name](**OPTIONS[name]), make_tools(model, layout))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    for step in range(STEPS):
        loss = method.losses(make_batch(size=2, latents=moving(0)), step, rng(step))["generator"]
        optimizer.zero_grad()
        loss.value.backward()
        optimizer.step()
        losses.append(loss.value.item())
    assert sum(losses[-ENDS:]) < 0.85 * sum(losses[:ENDS])
