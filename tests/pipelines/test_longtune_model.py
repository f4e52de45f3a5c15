"""The causal generator against diffusers' own class, and its cached stream against one masked pass."""

import pytest
import torch
from diffusers import WanTransformer3DModel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_block_mask

from pipelines.longtune.config import CausalConfig
from pipelines.longtune.errors import TuneError
from pipelines.longtune.model.cache import SinkWindowCache
from pipelines.longtune.model.masks import causal_mask, teacher_forcing_mask, token_mask, visible
from pipelines.longtune.model.rope import Places, stream_positions, training_positions
from pipelines.longtune.model.wan_causal import CausalWanTransformer3DModel
from pipelines.longtune.stream import CausalStream, stream_blocks

SIZE = {"num_attention_heads": 2, "attention_head_dim": 24, "in_channels": 4, "out_channels": 4, "text_dim": 16}
SIZE |= {"freq_dim": 32, "ffn_dim": 64, "num_layers": 3}
TOKENS = 6  # of a frame of 4 x 6 latents


def latents(frames: int, batch: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, 4, frames, 4, 6, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model() -> CausalWanTransformer3DModel:
    torch.manual_seed(0)
    return CausalWanTransformer3DModel(**SIZE).eval()


@pytest.fixture(scope="module")
def text() -> torch.Tensor:
    return torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(7))


def masked(model: CausalWanTransformer3DModel, video: torch.Tensor, text: torch.Tensor, layout: CausalConfig):
    frames = video.shape[2]
    with torch.no_grad():
        return model(
            video,
            torch.zeros(video.shape[0], frames),
            text,
            positions=training_positions(torch.arange(frames), layout),
            mask=causal_mask(torch.arange(frames), TOKENS, layout),
        )[0]


def streamed(model: CausalWanTransformer3DModel, video: torch.Tensor, text: torch.Tensor, layout: CausalConfig):
    stream = CausalStream(model, text, layout)
    outputs = []
    for block in video.split(layout.block, dim=2):
        with torch.no_grad():
            outputs.append(stream.velocity(block, 0.0))
        stream.commit(block)
    return torch.cat(outputs, dim=2)


def test_full_attention_equals_the_stock_model(model, text):
    stock = WanTransformer3DModel(**SIZE).eval()
    stock.load_state_dict(model.state_dict())
    video, timestep = latents(5, batch=2), torch.rand(2, 5) * 1000
    both = text.repeat(2, 1, 1)
    with torch.no_grad():
        theirs = stock(video, timestep.repeat_interleave(TOKENS, dim=1), both).sample
        ours, fresh = model(video, timestep, both, positions=torch.arange(5))
    assert (ours - theirs).abs().max() < 1e-6  # matrix products of another size round otherwise
    assert fresh == []


def test_weights_are_interchangeable_with_the_stock_class(model, tmp_path):
    model.save_pretrained(tmp_path)
    stock = WanTransformer3DModel.from_pretrained(tmp_path)
    stock.save_pretrained(tmp_path / "stock")
    back = CausalWanTransformer3DModel.from_pretrained(tmp_path / "stock")
    assert all(torch.equal(value, back.state_dict()[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("positions", ["relative", "absolute"])
@pytest.mark.parametrize(
    ("block", "window", "sink"),
    [(1, -1, 0), (1, 4, 2), (1, 6, 6), (3, -1, 0), (3, 12, 3), (3, 9, 1), (3, 6, 6), (3, 3, 0), (3, 4, 2), (8, 8, 2)],
)
def test_cached_stream_equals_one_masked_pass(model, text, block, window, sink, positions):
    layout = CausalConfig(block=block, window=window, sink=sink, positions=positions)
    video = latents(24)
    difference = (streamed(model, video, text, layout) - masked(model, video, text, layout)).abs().max()
    assert difference < 1e-5


def test_a_wrong_mask_would_be_noticed(model, text):
    video = latents(24)
    right = streamed(model, video, text, CausalConfig(block=3, window=9, sink=1))
    for wrong in ({"window": 10, "sink": 1}, {"window": 9, "sink": 0}, {"window": -1, "sink": 0}):
        assert (right - masked(model, video, text, CausalConfig(block=3, **wrong))).abs().max() > 1e-4


def test_text_reaches_the_output(model, text):
    layout = CausalConfig(block=3, window=6, sink=1)
    assert (
        streamed(model, latents(6), text, layout) - streamed(model, latents(6), text * 2, layout)
    ).abs().max() > 1e-4


@settings(max_examples=25, deadline=None)
@given(
    block=st.sampled_from([1, 2, 3]),
    window=st.sampled_from([-1, 3, 5]),
    sink=st.integers(0, 3),
    frame=st.integers(0, 11),
    seed=st.integers(0, 999),
)
def test_no_block_sees_a_later_one(model, text, block, window, sink, frame, seed):
    layout = CausalConfig(block=block, window=window, sink=sink)
    video = latents(12, seed=seed)
    other = video.clone()
    other[:, :, frame] += 1
    before = frame // block * block
    a, b = masked(model, video, text, layout), masked(model, other, text, layout)
    assert torch.equal(a[:, :, :before], b[:, :, :before])
    assert not torch.equal(a[:, :, before:], b[:, :, before:])


@pytest.mark.parametrize("positions", ["relative", "absolute"])
def test_teacher_forcing_trains_what_streaming_does(model, text, positions):
    """The noisy half of one pass gives each block the velocity it has beside the cache of its clean past."""
    layout = CausalConfig(block=3, window=5, sink=1, positions=positions)
    clean, noisy = latents(12, seed=1), latents(12, seed=2)
    velocity = teacher_forced(model, text, clean, noisy, torch.arange(12), layout)
    stream = CausalStream(model, text, layout)
    for index, (clean_block, noisy_block) in enumerate(zip(clean.split(3, dim=2), noisy.split(3, dim=2), strict=True)):
        expected = velocity[:, :, 3 * index : 3 * index + 3]
        with torch.no_grad():
            assert (stream.velocity(noisy_block, 0.7) - expected).abs().max() < 1e-5
        stream.commit(clean_block)


def teacher_forced(model, text, clean, noisy, frames, layout):
    timestep = torch.cat([torch.zeros(len(clean), len(frames)), torch.full((len(clean), len(frames)), 700.0)], dim=1)
    with torch.no_grad():
        velocity, _ = model(
            torch.cat([clean, noisy], dim=2),
            timestep,
            text,
            positions=training_positions(frames.repeat(2), layout),
            mask=teacher_forcing_mask(frames, TOKENS, layout),
        )
    return velocity[:, :, len(frames) :]


@pytest.mark.parametrize(("window", "sink"), [(5, 1), (6, 3), (4, 2), (4, 0)])
@pytest.mark.parametrize("positions", ["relative", "absolute"])
def test_a_window_far_behind_its_sink_is_trained_as_it_is_streamed_after_a_switch(model, text, window, sink, positions):
    """Frames 0.. of the sink, then a gap, then the window: a take's late part, as a recache leaves it."""
    layout = CausalConfig(block=3, window=window, sink=sink, positions=positions)
    video, noisy, other = latents(33), latents(3, seed=5), text.flip(1)
    stream = CausalStream(model, text, layout)
    for block in video[:, :, :30].split(3, dim=2):
        stream.commit(block)
    stream.switch(other)
    frames = torch.tensor([*stream.cache.frames, 30, 31, 32])
    clean = torch.cat([stream.kept, video[:, :, 30:]], dim=2)
    padded = torch.cat([torch.zeros_like(stream.kept), noisy], dim=2)
    expected = teacher_forced(model, other, clean, padded, frames, layout)[:, :, -3:]
    with torch.no_grad():
        assert (stream.velocity(noisy, 0.7) - expected).abs().max() < 1e-5


def test_a_long_stream_is_flat_and_its_relative_positions_never_run_out(text):
    model = CausalWanTransformer3DModel(**SIZE, rope_max_seq_len=16).eval()
    stream = CausalStream(model, text, CausalConfig(block=3, window=6, sink=2))
    blocks = stream_blocks(stream, (1, 4, 3, 4, 6), 1, 5.0)
    sizes = []
    for _, block in zip(range(20), blocks, strict=False):  # 60 latents: more than the rotary table holds
        assert torch.isfinite(block).all()
        sizes.append(stream.cache.nbytes)
    assert stream.cache.frames[:2] == (0, 1)
    assert len(set(sizes[2:])) == 1
    absolute = CausalStream(model, text, CausalConfig(block=3, window=6, sink=2, positions="absolute"))
    with pytest.raises(TuneError, match=r"17 is beyond the rotary table of 16 latents; causal.positions: relative"):
        for _ in zip(range(20), stream_blocks(absolute, (1, 4, 3, 4, 6), 1, 5.0), strict=False):
            pass


def test_a_training_window_deep_in_a_take_stays_inside_the_rotary_table(model, text):
    """A window 20,000 latents (80 minutes) behind its sink has the places of one just behind it."""
    layout = CausalConfig(block=3, window=6, sink=3)
    near, far = (torch.tensor([0, 1, 2, *range(start, start + 9)]) for start in (30, 20_001))
    both = [training_positions(frames, layout) for frames in (near, far)]
    assert all(isinstance(places, Places) and int(places.near.max()) <= 16 for places in both)
    video = latents(12)
    results = [teacher_forced(model, text, video, video, frames, layout) for frames in (near, far)]
    assert torch.equal(*results)


def test_relative_positions_put_the_sink_before_the_window():
    layout = CausalConfig(block=3, window=6, sink=1)
    numbers = torch.tensor([0, 3, 4, 5, 6, 7, 8])
    assert stream_positions(numbers[:4], end=6, layout=layout).equal(numbers[:4])
    assert stream_positions(numbers, end=9, layout=layout).tolist() == [0, 1, 2, 3, 4, 5, 6]
    absolute = CausalConfig(block=3, window=6, sink=1, positions="absolute")
    assert stream_positions(numbers, end=9, layout=absolute).equal(numbers)
    assert training_positions(numbers, absolute).equal(numbers)


@pytest.mark.parametrize(("frames", "tokens"), [(6, 6), (8, 16), (4, 32), (5, 130), (3, 128)])
def test_a_block_mask_is_the_dense_mask(frames, tokens):
    """Sizes below, at and above multiples of flex_attention's tile of 128 tokens."""
    layout = CausalConfig(block=2, window=3, sink=1)
    table = visible(torch.arange(frames), torch.arange(frames), layout, own_block=True)
    dense, sparse = token_mask(table, tokens), token_mask(table, tokens, flex=True)
    reference = create_block_mask(sparse.mask_mod, None, None, *dense.shape, device="cpu")
    for name in ("kv_num_blocks", "full_kv_num_blocks", "q_num_blocks", "full_q_num_blocks", "seq_lengths"):
        ours, theirs = getattr(sparse, name), getattr(reference, name)
        assert ours == theirs if name == "seq_lengths" else torch.equal(ours, theirs), name
    assert torch.equal(sparse.to_dense(), reference.to_dense())


def test_flex_attention_gives_what_dense_attention_gives(model, text):
    layout, frames = CausalConfig(block=3, window=5, sink=1), torch.arange(12)
    video, places = latents(12), training_positions(frames, layout)
    table = visible(frames, frames, layout, own_block=True)
    masks = [token_mask(table, TOKENS, flex=flex) for flex in (False, True)]
    with torch.no_grad():
        dense, flex = (model(video, torch.zeros(1, 12), text, positions=places, mask=mask)[0] for mask in masks)
    assert (dense - flex).abs().max() < 1e-5
    with pytest.raises(ValueError, match="no backward pass on a CPU"):
        model(video, torch.zeros(1, 12), text, positions=places, mask=masks[1])


def test_a_frame_of_a_multiple_of_128_tokens(model, text):
    """Where others slice `[:-0]` and are left with nothing (512 x 512 and the like)."""
    layout = CausalConfig(block=2, window=3, sink=1)
    video = torch.randn(1, 4, 6, 16, 32, generator=torch.Generator().manual_seed(0))
    stream, outputs = CausalStream(model, text, layout), []
    for block in video.split(2, dim=2):
        with torch.no_grad():
            outputs.append(stream.velocity(block, 0.0))
        stream.commit(block)
    frames = torch.arange(6)
    mask, places = causal_mask(frames, 128, layout), training_positions(frames, layout)
    with torch.no_grad():
        whole = model(video, torch.zeros(1, 6), text, positions=places, mask=mask)[0]
    assert whole.shape == video.shape
    assert (torch.cat(outputs, dim=2) - whole).abs().max() < 1e-5


def test_the_cache_takes_no_graph():
    layout = CausalConfig(block=1, window=2, sink=0)
    states = torch.ones(1, TOKENS, 2, 24, requires_grad=True)
    with pytest.raises(ValueError, match="no_grad"):
        SinkWindowCache(layout).commit((0,), [(states, states)])


def test_two_prompts_in_a_batch_do_not_mix(model, text):
    layout = CausalConfig(block=3, window=6, sink=1)
    video, both = latents(6, batch=2), torch.cat([text, text.flip(1)])
    together = streamed(model, video, both, layout)
    alone = [streamed(model, video[i : i + 1], both[i : i + 1], layout) for i in range(2)]
    assert (together - torch.cat(alone)).abs().max() < 1e-5


def test_gradient_checkpointing_changes_nothing(model, text):
    video, timestep, positions = latents(6), torch.full((1, 6), 500.0), torch.arange(6)
    mask = causal_mask(positions, TOKENS, CausalConfig(block=3, window=6, sink=0))
    gradients = []
    for switch in (model.disable_gradient_checkpointing, model.enable_gradient_checkpointing):
        switch()
        model.zero_grad()
        model(video, timestep, text, positions=positions, mask=mask)[0].square().mean().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    model.disable_gradient_checkpointing()
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def filled(model, text, layout, video):
    stream = CausalStream(model, text, layout)
    for block in video.split(layout.block, dim=2):
        stream.commit(block)
    return stream


def alike(one: SinkWindowCache, other: SinkWindowCache) -> bool:
    pairs = zip(one.layers, other.layers, strict=True)
    return one.frames == other.frames and all(torch.equal(a, b) for x, y in pairs for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize(("window", "sink", "frames"), [(9, 3, 9), (-1, 0, 12), (9, 6, 12)])
def test_a_switch_within_sight_is_as_if_the_new_prompt_had_always_been(model, text, window, sink, frames):
    layout, video = CausalConfig(block=3, window=window, sink=sink), latents(frames)
    stream = filled(model, text, layout, video)
    stale = stream.cache
    stream.switch(text.flip(1))
    assert alike(stream.cache, filled(model, text.flip(1), layout, video).cache)
    assert not torch.equal(stale.layers[-1][0], stream.cache.layers[-1][0])


@pytest.mark.parametrize(("block", "window", "sink"), [(3, 6, 3), (3, 5, 1), (1, 4, 2), (2, 7, 3)])
def test_a_later_switch_recomputes_the_kept_frames_block_by_block(model, text, block, window, sink):
    """Its keys and values are those of one masked pass over the kept frames, at their old places."""
    layout, video, other = CausalConfig(block=block, window=window, sink=sink), latents(24), text.flip(1)
    stream = filled(model, text, layout, video)
    held = stream.cache.frames
    stream.switch(other)
    assert stream.cache.frames == held
    frames = torch.tensor(held)
    assert torch.equal(stream.kept, video[:, :, frames])
    with torch.no_grad():
        mask, places = causal_mask(frames, TOKENS, layout), training_positions(frames, layout)
        _, fresh = model(stream.kept, torch.zeros(1, len(held)), other, positions=places, mask=mask, collect=True)
    for ours, theirs in zip(stream.cache.layers, fresh, strict=True):
        assert all((a - b).abs().max() < 1e-5 for a, b in zip(ours, theirs, strict=True))


def test_a_stream_goes_on_bit_equal_from_its_state(model, text):
    layout, dropped = CausalConfig(block=3, window=6, sink=1), torch.zeros(1, 5, 16)

    def fresh(seed):
        rng = torch.Generator().manual_seed(seed)
        return CausalStream(model, text, layout, rng=rng, guidance=3.0, dropped=dropped)

    def run(stream, blocks):
        made = stream_blocks(stream, (1, 4, 3, 4, 6), 2, 5.0)
        return [block for _, block in zip(range(blocks), made, strict=False)]

    one = fresh(1)
    run(one, 4)
    one.switch(text.flip(1))
    run(one, 1)
    state = {key: value.clone() if torch.is_tensor(value) else value for key, value in one.state_dict().items()}
    rest = run(one, 3)
    other = fresh(2)
    other.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(rest, run(other, 3), strict=True))


@pytest.mark.parametrize("training", [True, False])
def test_a_gradient_comes_through_the_newest_clip_alone(model, text, training):
    layout = CausalConfig(block=3, window=6, sink=1)
    history = latents(9).requires_grad_()
    model.train(training)
    model.requires_grad_(True)
    model.zero_grad()
    stream = filled(model, text, layout, history)
    before = [tensor.clone() for layer in stream.cache.layers for tensor in layer]
    newest = latents(3, seed=1).requires_grad_()
    stream.velocity(newest, 0.5).square().mean().backward()
    model.eval()
    assert history.grad is None
    assert newest.grad.abs().sum() > 0
    held = [tensor for layer in stream.cache.layers for tensor in layer]
    assert not any(tensor.requires_grad for tensor in held)
    assert all(torch.equal(a, b) for a, b in zip(before, held, strict=True))
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.zero_grad()


def test_a_prompt_s_keys_are_kept_while_weights_stay(model, text):
    """Cross-attention projects a prompt once; in training mode, where weights change under a stream, each time."""
    layout, calls = CausalConfig(block=3, window=6, sink=1), []
    hook = model.blocks[0].attn2.to_k.register_forward_hook(lambda *_: calls.append(1))
    kept = filled(model, text, layout, latents(9))
    assert len(calls) == 1
    kept.switch(text.flip(1))
    assert len(calls) == 2
    calls.clear()
    model.train()
    plain = filled(model, text, layout, latents(9))
    plain.switch(text.flip(1))
    model.eval()
    hook.remove()
    assert len(calls) == 3 + 2  # three blocks, then the sink and the window
    assert alike(kept.cache, plain.cache)


def test_a_rolling_window_is_denoised_together_and_committed_one_by_one(model, text):
    layout = CausalConfig(block=3, window=6, sink=1)
    stream = filled(model, text, layout, latents(9))
    window, levels = latents(9, seed=3), torch.tensor([[0.2] * 3 + [0.6] * 3 + [1.0] * 3])
    with torch.no_grad():
        together = stream.velocity(window, levels)
        assert together.shape == window.shape
        assert not torch.equal(together[:, :, :3], stream.velocity(window[:, :, :3], 0.2))
    with pytest.raises(ValueError, match="block of 3 frames; this one has 9"):
        stream.commit(window)


def test_guidance_steers_away_from_the_dropped_prompt(model, text):
    layout, dropped = CausalConfig(block=3, window=6, sink=1), torch.zeros(1, 5, 16)
    stream = CausalStream(model, text, layout, guidance=4.0, dropped=dropped)
    plain = [CausalStream(model, prompt, layout) for prompt in (text, dropped)]
    for block in latents(9).split(3, dim=2):
        with torch.no_grad():
            told, untold = (one.velocity(block, 0.5) for one in plain)
            assert (stream.velocity(block, 0.5) - (untold + 4 * (told - untold))).abs().max() < 1e-5
        for one in (stream, *plain):
            one.commit(block)
    assert stream.cache.nbytes == 2 * plain[0].cache.nbytes


def test_a_few_step_solver_lands_on_its_last_guess(model, text):
    layout = CausalConfig(block=3, window=6, sink=1)
    for solver in ("euler", "renoise"):
        stream = CausalStream(model, text, layout, rng=torch.Generator().manual_seed(0))
        one_step = next(stream_blocks(stream, (1, 4, 3, 4, 6), 1, 5.0, solver))
        noise = torch.randn(1, 4, 3, 4, 6, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            guess = noise - CausalStream(model, text, layout).velocity(noise, 1.0)
        assert torch.allclose(one_step, guess, atol=1e-6)  # with one step the two agree
    streams = [CausalStream(model, text, layout, rng=torch.Generator().manual_seed(0)) for _ in range(2)]
    pair = zip(streams, ("euler", "renoise"), strict=True)
    first, second = (next(stream_blocks(stream, (1, 4, 3, 4, 6), 4, 5.0, solver)) for stream, solver in pair)
    assert not torch.allclose(first, second, atol=1e-2)
