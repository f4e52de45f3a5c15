"""The causal generator against diffusers' own class, and its cached stream against one masked pass."""

import pytest
import torch
from diffusers import WanTransformer3DModel
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.longtune.config import CausalConfig
from pipelines.longtune.model.cache import SinkWindowCache
from pipelines.longtune.model.masks import teacher_forcing_mask
from pipelines.longtune.model.rope import stream_positions
from pipelines.longtune.model.wan_causal import CausalWanTransformer3DModel
from pipelines.longtune.stream import CausalStream, stream_blocks

SIZE = {"num_attention_heads": 2, "attention_head_dim": 24, "in_channels": 4, "out_channels": 4, "text_dim": 16}
SIZE |= {"freq_dim": 32, "ffn_dim": 64, "num_layers": 3}
TOKENS = 6  # of a frame of 4 x 6 latents


def causal_mask(frames, tokens, layout):
    """What clean frames see of clean frames in training: what a stream's cache must amount to."""
    clean = frames * tokens
    return teacher_forcing_mask(torch.arange(frames), tokens, layout)[:clean, :clean]


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
            positions=torch.arange(frames),
            mask=causal_mask(frames, TOKENS, layout),
        )[0]


def streamed(model: CausalWanTransformer3DModel, video: torch.Tensor, text: torch.Tensor, layout: CausalConfig):
    stream = CausalStream(model, text, layout, span=video.shape[2])
    outputs = []
    for block in video.split(layout.block, dim=2):
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


@pytest.mark.parametrize(
    ("block", "window", "sink"),
    [(1, -1, 0), (1, 4, 2), (1, 6, 6), (3, -1, 0), (3, 12, 3), (3, 9, 1), (3, 6, 6), (3, 3, 0), (3, 4, 2)],
)
def test_cached_stream_equals_one_masked_pass(model, text, block, window, sink):
    layout = CausalConfig(block=block, window=window, sink=sink)
    video = latents(18)
    difference = (streamed(model, video, text, layout) - masked(model, video, text, layout)).abs().max()
    assert difference < 1e-5


def test_a_wrong_mask_would_be_noticed(model, text):
    video = latents(18)
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


def test_teacher_forcing_trains_what_streaming_does(model, text):
    """The noisy half of one pass gives each block the velocity it has beside the cache of its clean past."""
    layout = CausalConfig(block=3, window=5, sink=1)
    clean, noisy = latents(12, seed=1), latents(12, seed=2)
    timestep = torch.cat([torch.zeros(1, 12), torch.full((1, 12), 700.0)], dim=1)
    with torch.no_grad():
        velocity, _ = model(
            torch.cat([clean, noisy], dim=2),
            timestep,
            text,
            positions=torch.arange(12).repeat(2),
            mask=teacher_forcing_mask(torch.arange(12), TOKENS, layout),
        )
    stream = CausalStream(model, text, layout, span=12)
    for index, (clean_block, noisy_block) in enumerate(zip(clean.split(3, dim=2), noisy.split(3, dim=2), strict=True)):
        expected = velocity[:, :, 12 + 3 * index : 15 + 3 * index]
        assert (stream.velocity(noisy_block, 0.7) - expected).abs().max() < 1e-5
        stream.commit(clean_block)


def test_memory_is_flat_in_length_and_positions_never_run_out(text):
    layout = CausalConfig(block=3, window=6, sink=2)
    model = CausalWanTransformer3DModel(**SIZE, rope_max_seq_len=16).eval()
    stream = CausalStream(model, text, layout, span=9)
    blocks = stream_blocks(stream, (1, 4, 3, 4, 6), 1, 5.0, torch.Generator().manual_seed(0))
    sizes = []
    for _, block in zip(range(20), blocks, strict=False):  # 60 latents: more than the rotary table holds
        assert torch.isfinite(block).all()
        sizes.append(stream.cache.nbytes)
    assert stream.cache.frames[:2] == (0, 1)
    assert len(set(sizes[2:])) == 1


def test_positions_stay_in_the_trained_span():
    layout = CausalConfig(block=3, window=6, sink=1)
    numbers = torch.tensor([0, 4, 5, 6, 7, 8, 9])
    assert stream_positions(numbers, end=9, span=9, layout=layout).equal(numbers)
    assert stream_positions(numbers, end=10, span=9, layout=layout).tolist() == [0, 3, 4, 5, 6, 7, 8]


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
    mask = causal_mask(6, TOKENS, CausalConfig(block=3, window=6, sink=0))
    gradients = []
    for switch in (model.disable_gradient_checkpointing, model.enable_gradient_checkpointing):
        switch()
        model.zero_grad()
        model(video, timestep, text, positions=positions, mask=mask)[0].square().mean().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    model.disable_gradient_checkpointing()
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
