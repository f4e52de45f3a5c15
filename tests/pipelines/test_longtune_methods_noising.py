"""Diffusion forcing, SEINE's random masks and Rolling Forcing: who is noised how, who sees whom, and what is scored."""

from itertools import islice

import pytest
import torch
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from pipelines.longtune.config import CausalConfig
from pipelines.longtune.errors import UsageError
from pipelines.longtune.methods import make_method
from pipelines.longtune.methods.options import DiffusionForcingOptions, RandomMasksOptions, RollingForcingOptions
from pipelines.longtune.methods.random_masks import KINDS, draw_given, fill, given_mask
from pipelines.longtune.methods.rolling_forcing import draw_windows, rolling_blocks, rung_levels, window_mask
from pipelines.longtune.model.rope import training_positions
from pipelines.longtune.noise import TIMESTEPS
from pipelines.longtune.stream import CausalStream, stream_blocks
from tests.pipelines.tiny_longtune import LAYOUT, Spy, embed, make_batch, make_model, make_tools, rng


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture
def spy(model):
    return Spy(model)


def run(options, spy, batch, seed=0):
    return make_method(options, make_tools(spy)).losses(batch, 0, rng(seed))["generator"]


@pytest.mark.parametrize(("per_frame", "different"), [(False, 4), (True, 8)])
def test_diffusion_forcing_noises_each_block_by_itself(spy, per_frame, different):
    batch = make_batch()
    run(DiffusionForcingOptions(per_frame=per_frame), spy, batch)
    seen, timestep = spy.calls[0]["latents"], spy.calls[0]["timestep"][0]
    assert seen.shape == batch.latents.shape  # no clean copy
    assert len(timestep.unique()) == different
    assert (timestep > 0).all()


def test_diffusion_forcing_trains_what_streaming_from_a_noised_past_does(model, spy):
    """The pass of training gives each block the velocity it has beside a cache of the past as it was noised."""
    run(DiffusionForcingOptions(), spy, make_batch())
    call, velocity = spy.calls[0], spy.velocities[0]
    past, noised_level = call["latents"][:, :, :2], float(call["timestep"][0, 0])
    stream = CausalStream(model.eval(), call["text"], LAYOUT, context_timestep=noised_level)
    with torch.no_grad():
        first = stream.velocity(past, noised_level / TIMESTEPS)
        numbers = (0, 1)
        _, fresh = stream._forward(past, call["timestep"][:, :2] / TIMESTEPS, numbers, collect=True)
        stream.cache, stream.frame = stream.cache.commit(numbers, fresh), 2
        second = stream.velocity(call["latents"][:, :, 2:4], float(call["timestep"][0, 2]) / TIMESTEPS)
    assert (torch.cat([first, second], dim=2) - velocity[:, :, :4]).abs().max() < 1e-5


def test_context_noise_is_how_a_stream_remembers(model):
    assert DiffusionForcingOptions(context_noise=0.02).context_timestep == pytest.approx(20)
    block = torch.randn(1, 4, 2, 4, 4, generator=rng(3))
    memories = []
    for timestep in (0.0, 20.0, 20.0, -1.0):
        stream = CausalStream(model.eval(), embed(["x"]), LAYOUT, rng=rng(1), context_timestep=timestep)
        stream.commit(block)
        memories.append(stream.cache.layers[0][0])
        assert torch.equal(stream.kept, block)
    assert torch.equal(memories[1], memories[2])
    assert not any(torch.equal(memories[0], other) for other in memories[1:])


@for_all(kind=st.sampled_from(KINDS), frames=st.integers(3, 30), most=st.floats(0.1, 0.9), seed=st.integers(0, 999))
@settings(max_examples=100, deadline=None)
def test_given_frames_are_of_their_kind(kind, frames, most, seed):
    given = draw_given(kind, frames, most, rng(seed))
    count = int(given.sum())
    assert count <= max(2, int(frames * most))
    if kind == "nothing":
        assert count == 0
    else:
        assert count >= 1
    if kind == "prediction":
        assert given[:count].all()
    if kind == "transition":
        assert given[0]
        assert given[-1]
        assert (given.int().diff() != 0).sum() == 2


@pytest.mark.parametrize("attention", ["bidirectional", "block_causal"])
def test_given_frames_are_clean_and_not_scored(spy, attention):
    batch = make_batch()
    only = RandomMasksOptions(transition=1, prediction=0, interpolation=0, nothing=0, attention=attention)
    loss = run(only, spy, batch)
    call = spy.calls[0]
    given = call["timestep"][0] == 0
    assert loss.facts["given"] == given.sum()
    assert given[0]
    assert given[-1]
    assert torch.equal(call["latents"][:, :, given], batch.latents[:, :, given])
    made = (~given).nonzero()[:, 0]
    levels = call["timestep"][0, made] / TIMESTEPS
    assert len(levels.unique()) == (1 if attention == "bidirectional" else len((made // 2).unique()))
    sigma = levels[None, None, :, None, None]
    clean, velocity = batch.latents[:, :, made], spy.velocities[0][:, :, made]
    noise = (call["latents"][:, :, made] - (1 - sigma) * clean) / sigma
    assert loss.value.item() == pytest.approx((velocity - (noise - clean)).square().mean().item(), rel=1e-4)


def test_context_is_as_good_as_given(spy):
    target = torch.tensor([[False, False] + [True] * 6])
    run(RandomMasksOptions(prediction=0, transition=0, interpolation=0), spy, make_batch(target=target))
    assert (spy.calls[0]["timestep"][0] == 0).tolist() == (~target[0]).tolist()


def test_a_given_end_is_seen_from_the_start_and_sees_what_is_given_alone():
    frames, given = torch.arange(8), torch.tensor([True] + [False] * 6 + [True])
    assert given_mask(frames, given, 1, LAYOUT, "bidirectional") is None
    mask = given_mask(frames, given, 1, LAYOUT, "block_causal")
    assert mask[:, 0].all()
    assert mask[:, 7].all()
    assert torch.equal(mask[0], given)
    assert torch.equal(mask[7], given)
    assert mask[2].nonzero()[:, 0].tolist() == [0, 1, 2, 3, 7]


@pytest.mark.parametrize("attention", ["bidirectional", "block_causal"])
def test_fill_keeps_what_is_given_and_finds_the_rest(attention):
    """With the velocity of a known clip, the frames between are that clip's."""
    clip, given = torch.randn(2, 4, 8, 4, 4, generator=rng(5)), torch.tensor([True] * 2 + [False] * 4 + [True] * 2)

    def oracle(latents, timestep, **_):
        sigma = (timestep / TIMESTEPS).clamp_min(1e-6)[:, None, :, None, None]
        return (latents - clip) / sigma

    options = RandomMasksOptions(attention=attention)
    shown = torch.where(given[None, None, :, None, None], clip, 99.0)
    made = fill(Spy(oracle), shown, given, embed(["x"]), LAYOUT, options, 4, 5.0, rng())
    assert torch.equal(made[:, :, given], clip[:, :, given])
    assert torch.allclose(made, clip, atol=1e-4)


@for_all(
    blocks=st.integers(2, 5),
    length=st.integers(1, 12),
    skipped=st.integers(0, 3),
    gap=st.sampled_from([0, 40]),
    seed=st.integers(0, 999),
)
@settings(max_examples=60, deadline=None)
def test_windows_cover_each_block_once_at_rising_rungs(blocks, length, skipped, gap, seed):
    frames = torch.arange(2 * (skipped + length))
    frames[2 * skipped :] += gap
    target = torch.ones(1, len(frames), dtype=torch.bool)
    target[:, : 2 * skipped] = False
    windows = draw_windows(frames, target, 2, blocks, rng(seed))
    number, rung = windows.number[::2].tolist(), windows.rung[::2].tolist()
    assert number == sorted(number)
    assert all(number.count(window) <= blocks for window in number)
    for window in set(number):
        inside = [place for place, of in zip(rung, number, strict=True) if of == window]
        assert inside == list(range(inside[0], inside[0] + len(inside)))
        start = frames[windows.number == window].min()
        assert (windows.start[windows.number == window] == start).all()
    if skipped:
        assert number[skipped - 1] != number[skipped]


def test_rungs_rise_from_clean_to_noise():
    levels = rung_levels(torch.arange(5), torch.tensor(1.0), 5, 5.0)
    assert levels.diff().min() > 0
    assert levels[-1] == 1
    assert rung_levels(torch.tensor(0), torch.tensor(0.0), 5, 5.0) == 0


@pytest.mark.parametrize("positions", ["relative", "absolute"])
def test_rolling_windows_are_trained_as_they_are_sampled(model, positions):
    """One pass over [clean | noisy] gives each window the velocity it has beside the cache of the clean past."""
    layout = CausalConfig(block=2, window=4, sink=2, positions=positions)
    frames = torch.arange(16)
    clean, noisy = (torch.randn(1, 4, 16, 4, 4, generator=rng(seed)) for seed in (1, 2))
    windows = draw_windows(frames, torch.ones(1, 16, dtype=torch.bool), 2, 3, rng(4))
    assert len(windows.number.unique()) >= 3
    levels = rung_levels(windows.rung[None], torch.tensor([[0.4]]), 3, 5.0)
    text = embed(["x"])
    with torch.no_grad():
        velocity, _ = model(
            torch.cat([clean, noisy], dim=2),
            torch.cat([torch.zeros_like(levels), levels * TIMESTEPS], dim=1),
            text,
            positions=training_positions(frames.repeat(2), layout, torch.cat([frames, windows.start])),
            mask=window_mask(frames, windows, layout).repeat_interleave(4, 0).repeat_interleave(4, 1),
        )
    stream = CausalStream(model.eval(), text, layout)
    with torch.no_grad():
        for window in windows.number.unique():
            inside = windows.number == window
            streamed = stream.velocity(noisy[:, :, inside], levels[:, inside])
            assert (streamed - velocity[:, :, 16:][:, :, inside]).abs().max() < 1e-5
            for block in clean[:, :, inside].split(2, dim=2):
                stream.commit(block)


def test_a_rolling_batch_is_one_pass_with_a_loss(spy):
    loss = run(RollingForcingOptions(blocks=3), spy, make_batch(12, size=2))
    assert len(spy.calls) == 1
    assert loss.value.requires_grad
    assert (spy.calls[0]["timestep"][:, :12] == 0).all()


@pytest.mark.parametrize(("blocks", "steps"), [(3, 3), (3, 6)])
def test_rolling_sampling_is_exact_for_a_straight_flow_and_takes_steps_by_block(blocks, steps):
    video = torch.randn(1, 4, 40, 4, 4, generator=rng(7))
    calls = []

    class Straight:
        """A stream whose flow leads straight to a known video."""

        rng, device, frame = rng(), torch.device("cpu"), 0

        def velocity(self, window, level):
            calls.append(level[0].tolist())
            return (window - video[:, :, self.frame : self.frame + window.shape[2]]) / level[:, None, :, None, None]

        def commit(self, block):
            self.frame += block.shape[2]

    made = list(islice(rolling_blocks(Straight(), (1, 4, 2, 4, 4), blocks, steps, 5.0), 5))
    assert torch.allclose(torch.cat(made, dim=2), video[:, :, :10], atol=1e-4)
    assert len(calls) == (steps // blocks) * (5 + blocks - 1)  # the start fills the window; then one window a block
    assert len(calls[0]) == 2
    assert len(calls[-1]) == 2 * blocks
    assert calls[-1] == sorted(calls[-1])


def test_rolling_blocks_come_from_the_model_and_are_remembered(model):
    def made(seed):
        stream = CausalStream(model.eval(), embed(["x"]), LAYOUT, rng=rng(seed))
        blocks = list(islice(rolling_blocks(stream, (1, 4, 2, 4, 4), 3, 3, 5.0), 4))
        assert stream.frame == 8
        return torch.cat(blocks, dim=2)

    assert torch.equal(made(0), made(0))
    assert made(0).isfinite().all()
    stream = CausalStream(model.eval(), embed(["x"]), LAYOUT, rng=rng(0))
    plain = torch.cat(list(islice(stream_blocks(stream, (1, 4, 2, 4, 4), 3, 5.0), 4)), dim=2)
    assert not torch.allclose(made(0), plain)


def test_steps_that_the_window_does_not_divide_are_refused(model):
    stream = CausalStream(model.eval(), embed(["x"]), LAYOUT)
    with pytest.raises(UsageError, match="window of 3 blocks takes a multiple of it, not 4"):
        next(rolling_blocks(stream, (1, 4, 2, 4, 4), 3, 4, 5.0))
