"""FAR: clean context that is marked and not scored, and a far past of coarse patches that can be streamed, too."""

from itertools import islice

import pytest
import torch
from diffusers import WanTransformer3DModel

from pipelines.longtune.adapters import base_weights, trainable
from pipelines.longtune.checkpoint import find_checkpoint
from pipelines.longtune.config import CausalConfig
from pipelines.longtune.errors import TuneError
from pipelines.longtune.export import export_run
from pipelines.longtune.methods import make_method
from pipelines.longtune.methods.far import CLEAN, FAR, FarStream, far_inputs, far_mask
from pipelines.longtune.methods.options import FarOptions
from pipelines.longtune.model.far import FILE, FarWanTransformer3DModel, attach_far, far_angles, save_far, split_far
from pipelines.longtune.model.rope import angles
from pipelines.longtune.noise import TIMESTEPS
from pipelines.longtune.stream import stream_blocks
from pipelines.longtune.weights import load_generator, save_transformer
from tests.pipelines.longtune_run import make_run
from tests.pipelines.tiny_longtune import Spy, embed, gradients, make_batch, make_model, make_tools, rng

LAYOUT = CausalConfig(block=2, window=4, sink=0)
TOKENS = 16  # of a frame of 8 x 8 latents; 4 of a coarse one


@pytest.fixture(scope="module")
def model():
    made = make_model().eval()
    attach_far(made)
    return made


def batch(**change):
    return make_batch(12, height=8, width=8, **change)


def far(model, seed=0, **options):
    return make_method(FarOptions(**options), make_tools(model, LAYOUT, span=12, seed=seed))


def asked(model, step=0, seed=0, takes=None, **options):
    """What one step asks of the model, what it is told, and the loss."""
    method = far(make_model(), seed, **options)
    spy = Spy(method.tools.generator)
    spy.config = model.config
    object.__setattr__(method.tools, "generator", spy)
    loss = method.losses(batch() if takes is None else takes, step, rng(step))["generator"]
    return spy.calls[0], spy.velocities[0], loss


def test_the_far_past_is_coarse_and_clean_and_the_loss_is_on_the_fine_window(model):
    takes = batch()
    for step in range(12):
        call, velocity, loss = asked(model, step, takes=takes, clean=0.5)
        start = int(loss.facts["coarse"])
        if start and (call["timestep"][0, start:] > 0).any():
            break
    assert torch.equal(call["coarse"], takes.latents[:, :, :start])
    assert (call["timestep"][:, :start] == FAR).all()
    fine = call["timestep"][0, start:]
    given = fine == CLEAN
    assert torch.equal(call["latents"][:, :, given], takes.latents[:, :, start : start + 4][:, :, given])
    sigma = (fine[~given] / TIMESTEPS)[None, None, :, None, None]
    clean = takes.latents[:, :, start : start + 4][:, :, ~given]
    noise = (call["latents"][:, :, ~given] - (1 - sigma) * clean) / sigma
    assert loss.value.item() == pytest.approx(
        (velocity[:, :, ~given] - (noise - clean)).square().mean().item(), rel=1e-3
    )


@pytest.mark.parametrize(("clean", "marked"), [(0.0, False), (1.0, True)])
def test_clean_context_is_drawn(model, clean, marked):
    call, _, loss = asked(model, clean=clean, long_context=False)
    assert ((call["timestep"] == CLEAN) == marked).all()
    assert (loss.value == 0) == marked


def test_without_long_context_the_far_past_is_not_seen(model):
    call, _, _ = asked(model, step=3, long_context=False)
    assert "coarse" not in call
    assert call["latents"].shape[2] == LAYOUT.window


def test_levels_may_be_logit_normal(model):
    shifted, _, _ = asked(model, clean=0)
    normal, _, _ = asked(model, clean=0, levels="logit_normal")
    assert not torch.equal(shifted["timestep"], normal["timestep"])
    assert 0 < normal["timestep"][normal["timestep"] != FAR].min() < TIMESTEPS


def test_the_length_is_drawn_in_blocks_alike_on_every_rank(model):
    method = far(make_model(), seed=3)
    ends = [method._draw_end(batch(), step) for step in range(60)]
    assert set(ends) == {4, 6, 8, 10, 12}
    other = far(make_model(), seed=3)
    assert [other._draw_end(batch(seed=1), step) for step in range(60)] == ends
    late = torch.tensor([[False] * 9 + [True] * 3])
    assert {method._draw_end(batch(target=late), step) for step in range(60)} == {10, 12}


def test_a_coarse_frame_has_a_quarter_of_the_tokens(model):
    mask = far_mask(2, 4, TOKENS, LAYOUT, torch.device("cpu"))
    assert mask.shape == (2 * TOKENS // 4 + 4 * TOKENS,) * 2
    coarse = model.far_patch_embedding(torch.zeros(1, 4, 2, 8, 8))
    assert coarse.flatten(2).shape[2] == 2 * TOKENS // 4


def test_a_flat_picture_is_embedded_alike_by_both_embedders(model):
    flat = torch.randn(1, 4, 1, 1, 1, generator=rng(2)).expand(1, 4, 1, 8, 8)
    with torch.no_grad():
        fine, coarse = model.patch_embedding(flat), model.far_patch_embedding(flat)
    assert torch.allclose(fine[..., :1, :1].expand_as(coarse), coarse, atol=1e-5)


def test_a_coarse_token_stands_in_the_middle_of_the_fine_ones_it_covers(model):
    places = torch.tensor([3])
    cos, sin = far_angles(model.rope, places, places, 4, 6)
    fine_cos, fine_sin = angles(model.rope, places, 4, 6)
    assert torch.equal(cos[:, 6:], fine_cos)
    phase = torch.atan2(fine_sin, fine_cos)[0, :, 0].view(4, 6, -1)
    mean = (phase[0::2, 0::2] + phase[1::2, 1::2]) / 2
    small = phase.abs().amax(dim=(0, 1)) < 3  # where no phase has gone round
    assert small.sum() > 6
    assert torch.allclose(cos[0, :6, 0].view(2, 3, -1)[..., small], mean.cos()[..., small], atol=1e-5)
    assert torch.allclose(sin[0, :6, 0].view(2, 3, -1)[..., small], mean.sin()[..., small], atol=1e-5)


def test_coarse_patches_must_tile_the_frame(model):
    with pytest.raises(TuneError, match="multiples of 32"):
        far_angles(model.rope, torch.tensor([0]), torch.tensor([1]), 3, 4)


def test_no_block_sees_a_later_one_and_the_far_past_is_seen(model):
    video, text = batch().latents, embed(["x"])
    inputs = far_inputs(video[:, :, :8], 4, TOKENS, LAYOUT, video.device)

    def made(coarse, fine):
        timestep = torch.tensor([[FAR] * 8 + [500.0] * 4])
        with torch.no_grad():
            return model(fine, timestep, text, **{**inputs, "coarse": coarse})[0]

    plain = made(video[:, :, :8], video[:, :, 8:])
    later = video[:, :, 8:].clone()
    later[:, :, 2:] += 1
    assert torch.equal(made(video[:, :, :8], later)[:, :, :2], plain[:, :, :2])
    earlier = video[:, :, :8].clone()
    earlier[:, :, 0] += 1
    assert not torch.equal(made(earlier, video[:, :, 8:]), plain)


@pytest.mark.parametrize("blocks", [1, 2, 3, 6])
def test_a_stream_reads_its_past_as_training_does(model, blocks):
    """One pass over [coarse | clean window | noisy block] gives the block the velocity it has in a stream."""
    video, text = batch().latents, embed(["x"])
    stream = FarStream(model, text, LAYOUT, span=12)
    for block in video[:, :, : 2 * blocks - 2].split(2, dim=2) if blocks > 1 else ():
        stream.commit(block)
    end = 2 * blocks
    start = max(0, end - LAYOUT.window)
    coarse = video[:, :, :start] if start else None
    timestep = torch.tensor([[FAR] * start + [CLEAN] * (end - start - 2) + [700.0] * 2])
    inputs = far_inputs(coarse, end - start, TOKENS, LAYOUT, video.device)
    with torch.no_grad():
        whole = model(video[:, :, start:end], timestep, text, **inputs)[0][:, :, -2:]
        streamed = stream.velocity(video[:, :, end - 2 : end], 0.7)
    assert (whole - streamed).abs().max() < 1e-5


def test_streams_of_any_length_need_memory_of_a_clip(model):
    stream = FarStream(model, embed(["x"]), LAYOUT, span=12, rng=rng())
    sizes = []
    for block in islice(stream_blocks(stream, (1, 4, 2, 8, 8), 1, 5.0), 12):
        assert block.isfinite().all()
        sizes.append(stream.cache.nbytes)
    assert sizes[4:] == sizes[4:5] * 8
    assert sizes[0] < sizes[4]


def test_a_stream_goes_on_bit_equal_from_its_state_and_reads_anew_under_another_prompt(model):
    def made(stream, count):
        return torch.cat(list(islice(stream_blocks(stream, (1, 4, 2, 8, 8), 2, 5.0), count)), dim=2)

    whole = made(FarStream(model, embed(["x"]), LAYOUT, span=12, rng=rng()), 5)
    first = FarStream(model, embed(["x"]), LAYOUT, span=12, rng=rng())
    start = made(first, 3)
    second = FarStream(model, embed(["y"]), LAYOUT, span=12)
    second.load_state_dict(first.state_dict())
    assert torch.equal(torch.cat([start, made(second, 2)], dim=2), whole)

    told = FarStream(model, embed(["y"]), LAYOUT, span=12)
    for block in start.split(2, dim=2):
        told.commit(block)
    first.switch(embed(["y"]))
    assert torch.equal(first.cache.layers[1][0], told.cache.layers[1][0])


def test_the_coarse_embedder_learns_with_the_generator():
    model = make_model()
    method = far(model)
    assert "far_patch_embedding.weight" in trainable(model)
    for step in range(10):
        loss = method.losses(batch(), step, rng(step))["generator"]
        if loss.facts["coarse"]:
            break
    loss.value.backward()
    found = gradients(model)
    assert found["far_patch_embedding.weight"].any()
    assert found["patch_embedding.weight"].any()


def test_the_embedder_has_a_file_of_its_own_and_the_stock_class_loads_the_rest(model, tmp_path):
    with torch.no_grad():
        model.far_patch_embedding.bias += 1
    stock, extra = split_far(model.state_dict())
    assert sorted(extra) == ["far_patch_embedding.bias", "far_patch_embedding.weight"]
    save_transformer(tmp_path / "transformer", model, base_weights(stock))
    save_far(tmp_path, extra)
    loaded, report = WanTransformer3DModel.from_pretrained(tmp_path / "transformer", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert set(loaded.state_dict()) == set(stock)

    again = make_model(5)
    attach_far(again, tmp_path)
    assert torch.equal(again.far_patch_embedding.bias, model.far_patch_embedding.bias)
    (tmp_path / FILE).write_bytes(b"nothing")
    with pytest.raises(TuneError, match=FILE):
        attach_far(make_model(), tmp_path)
    with torch.no_grad():
        model.far_patch_embedding.bias -= 1


def test_gradient_checkpointing_changes_nothing():
    found = []
    for checkpointing in (False, True):
        model = make_model()
        method = far(model)
        if checkpointing:
            model.enable_gradient_checkpointing()
        method.losses(batch(), 1, rng())["generator"].value.backward()
        found.append(gradients(model))
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_an_exported_run_is_stock_with_the_coarse_embedder_beside_it(tmp_path):
    run = make_run(tmp_path / "run")
    checkpoint = find_checkpoint(run)
    generator = load_generator(checkpoint)
    attach_far(generator.transformer)
    save_far(checkpoint, split_far(generator.transformer.state_dict())[1])
    export_run(run, tmp_path / "out", "diffusers")
    stock = WanTransformer3DModel.from_pretrained(tmp_path / "out" / "transformer")
    assert not any("far" in name for name, _ in stock.named_parameters())
    again = load_generator(tmp_path / "out").transformer
    assert isinstance(again, FarWanTransformer3DModel)
    before, after = generator.transformer.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
