"""Temporal LoRA: it learns the window that was just made, and leaves no trace in the weights beneath."""

from itertools import islice

import pytest
import torch
from peft import LoraConfig

from pipelines.longtune.config import CausalConfig
from pipelines.longtune.methods.options import TempLoraOptions
from pipelines.longtune.methods.temp_lora import TempLora
from pipelines.longtune.stream import CausalStream, stream_blocks
from tests.pipelines.tiny_longtune import embed, make_model, rng

LAYOUT = CausalConfig(block=2, window=4, sink=2)
OPTIONS = TempLoraOptions(rank=4, lr=1e-2, steps=4, blocks=3)
SHAPE = (1, 4, 2, 4, 4)


@pytest.fixture
def model():
    return make_model().eval()


def lora(model, options=OPTIONS):
    return TempLora(model, options, LAYOUT, 5.0, seed=0)


def made(model, count, options=OPTIONS, seed=1):
    stream = CausalStream(model, embed(["x"]), LAYOUT, rng=rng(seed))
    with lora(model, options) as learning:
        blocks = learning.blocks(stream_blocks(stream, SHAPE, 2, 5.0), stream)
        return torch.cat(list(islice(blocks, count)), dim=2)


def test_it_lowers_the_loss_on_the_window_just_made(model):
    window, frames, text = torch.randn(1, 4, 6, 4, 4, generator=rng(2)), torch.arange(6), embed(["x"])
    with lora(model, TempLoraOptions(rank=8, lr=1e-2, steps=30, blocks=3)) as learning, torch.no_grad():
        before = [learning.loss(window, frames, text, rng(seed)).item() for seed in range(8)]
        learning.learn(window, frames, text)
        after = [learning.loss(window, frames, text, rng(seed)).item() for seed in range(8)]
    assert sum(after) < 0.97 * sum(before)


def test_the_base_weights_stay_as_they_are_bit_for_bit(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    flags = {name: value.requires_grad for name, value in model.named_parameters()}
    stream = CausalStream(model, embed(["x"]), LAYOUT, rng=rng(1))
    plain = torch.cat(list(islice(stream_blocks(stream, SHAPE, 2, 5.0), 5)), dim=2)
    made(model, 7)
    assert {name: value.requires_grad for name, value in model.named_parameters()} == flags
    after = model.state_dict()
    assert set(after) == set(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    again = CausalStream(model, embed(["x"]), LAYOUT, rng=rng(1))
    assert torch.equal(torch.cat(list(islice(stream_blocks(again, SHAPE, 2, 5.0), 5)), dim=2), plain)


def test_nothing_changes_before_the_first_window_is_learnt_and_then_it_does(model):
    stream = CausalStream(model, embed(["x"]), LAYOUT, rng=rng(1))
    plain = torch.cat(list(islice(stream_blocks(stream, SHAPE, 2, 5.0), 5)), dim=2)
    learnt = made(model, 5)
    assert torch.equal(learnt[:, :, :6], plain[:, :, :6])
    assert not torch.equal(learnt[:, :, 6:], plain[:, :, 6:])
    assert torch.equal(learnt, made(model, 5))
    assert learnt.isfinite().all()


def test_the_adapter_alone_gets_gradients_and_the_memory_is_of_the_learnt_weights(model):
    stream = CausalStream(model, embed(["x"]), LAYOUT, rng=rng(1))
    with lora(model) as learning:
        list(islice(learning.blocks(stream_blocks(stream, SHAPE, 2, 5.0), stream), 3))
        trained = [name for name, value in model.named_parameters() if value.requires_grad]
        assert trained
        assert all(".lora_" in name for name in trained)
        keys = stream.cache.layers[1][0].clone()
        stream.switch(embed(["x"]))
        assert torch.equal(stream.cache.layers[1][0], keys)


def test_adapters_that_are_still_apart_are_refused_and_stay(model):
    model.add_adapter(LoraConfig(r=2, target_modules=["to_q"]), adapter_name="trained")
    names = set(model.state_dict())
    with pytest.raises(ValueError, match="merged"), lora(model):
        pass
    assert set(model.state_dict()) == names


def test_the_adapter_goes_when_a_video_breaks_off(model):
    names = set(model.state_dict())
    with pytest.raises(KeyError, match="stop"), lora(model):
        raise KeyError("stop")
    assert set(model.state_dict()) == names
