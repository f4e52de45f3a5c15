"""Noise, losses, VAE and text: the small parts, each against its definition."""

import pytest
import torch
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler

from pipelines.longtune.config import CausalConfig, Config
from pipelines.longtune.methods.method import LatentBatch, Prompt, Tools
from pipelines.longtune.methods.options import TeacherForcingOptions
from pipelines.longtune.methods.teacher_forcing import TeacherForcing
from pipelines.longtune.noise import block_levels, noised, schedule, shifted
from pipelines.longtune.text import clean_caption
from pipelines.longtune.vae import StreamingDecoder, encode, measure_scale, to_bytes, to_pixels
from pipelines.longtune.weights import Generator, load_generator, make_generator

TINY = Config.model_validate({"model": {"tiny": {}}, "train": {"vae_steps": 1}})


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    return make_generator(TINY.model).to(torch.device("cpu"))


def pixels(frames: int, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, 3, frames, 32, 32, generator=torch.Generator().manual_seed(frames)) * 2 - 1


def test_shift_is_the_scheduler_s():
    theirs = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=5.0)
    assert torch.allclose(shifted(torch.arange(1000, 0, -1) / 1000, 5.0), theirs.sigmas, atol=1e-6)
    assert shifted(torch.tensor([0.0, 0.5, 1.0]), 5.0).tolist() == pytest.approx([0, 5 / 6, 1])


def test_levels_are_shared_in_a_block_and_independent_between_blocks():
    levels = block_levels(64, 3, 4, 5.0, torch.Generator().manual_seed(0)).unflatten(1, (3, 4))
    assert (levels == levels[:, :, :1]).all()
    assert len(levels[:, :, 0].unique()) == 64 * 3
    # The mean of 5s/(1+4s) over s in 0..1 is 5/4 - 5 ln(5)/16.
    assert levels.mean().item() == pytest.approx(1.25 - 5 * 1.6094379 / 16, abs=0.05)


def test_schedule_runs_from_noise_to_clean():
    levels = schedule(8, 5.0)
    assert (levels[0], levels[-1], len(levels)) == (1, 0, 9)
    assert (levels.diff() < 0).all()
    clean, noise = torch.zeros(1, 1, 2, 1, 1), torch.ones(1, 1, 2, 1, 1)
    assert noised(clean, noise, torch.tensor([[0.0, 1.0]])).flatten().tolist() == [0, 1]


def test_teacher_forcing_loss_is_the_velocity_s_error_on_the_noisy_half():
    layout, clean = CausalConfig(block=2, window=2, sink=0), torch.randn(1, 4, 4, 2, 2)
    seen = {}

    class Oracle(torch.nn.Module):
        config = type("config", (), {"patch_size": (1, 2, 2)})

        def forward(self, sequence, timestep, text, *, positions, mask):
            sigma = timestep[:, 4:] / 1000
            noisy, past = sequence[:, :, 4:], sequence[:, :, :4]
            seen.update(past=past, timestep=timestep, positions=positions, mask=mask)
            noise = (noisy - (1 - sigma[:, None, :, None, None]) * clean) / sigma[:, None, :, None, None]
            return torch.cat([torch.full_like(past, 1e6), noise - clean], dim=2), []

    device = torch.device("cpu")
    tools = Tools(Oracle(), None, lambda captions: torch.zeros(1, 1, 1), layout, 4, 5.0, device)
    batch = LatentBatch(
        clean, torch.arange(4), torch.ones(1, 4, dtype=torch.bool), ["a take"], [[Prompt(0, "a take")]], ["key"]
    )
    method = TeacherForcing(tools, TeacherForcingOptions())
    loss = method.losses(batch, 0, torch.Generator().manual_seed(0))["generator"]
    assert loss.value.item() < 1e-8
    assert loss.by_sample.shape == (1,)
    assert torch.equal(seen["past"], clean)
    assert (seen["timestep"][:, :4] == 0).all()
    assert seen["positions"].tolist() == [0, 1, 2, 3] * 2
    assert seen["mask"].shape == (8, 8)


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (5, 2), (17, 5)])
def test_encode_gives_k_plus_1_latents(generator, frames, latents):
    assert encode(generator.vae, pixels(frames)).shape == (1, 4, latents, 4, 4)


@pytest.mark.parametrize("frames", [2, 16, 18])
def test_encode_refuses_to_drop_a_tail(generator, frames):
    with pytest.raises(ValueError, match="4k\\+1"):
        encode(generator.vae, pixels(frames))


def test_streamed_decoding_equals_the_whole(generator):
    normalised = torch.randn(1, 4, 5, 4, 4, generator=torch.Generator().manual_seed(1))
    mean, std = torch.tensor([0.5, -1.0, 0.0, 2.0]), torch.tensor([2.0, 1.0, 0.5, 1.0])
    vae = AutoencoderKLWan.from_config(
        {**generator.vae.config, "latents_mean": mean.tolist(), "latents_std": std.tolist()}
    )
    decoder = StreamingDecoder(vae)
    parts = torch.cat([decoder.decode(block) for block in normalised.split([1, 3, 1], dim=2)], dim=2)
    with torch.no_grad():
        whole = vae.decode(normalised * std.view(1, 4, 1, 1, 1) + mean.view(1, 4, 1, 1, 1)).sample
    assert parts.shape == (1, 3, 17, 32, 32)
    assert torch.allclose(parts, whole, atol=1e-6)


def test_measured_scale_normalises(tmp_path):
    torch.manual_seed(3)
    vae = make_generator(TINY.model).vae.eval()
    windows = [pixels(5), pixels(9)]
    measure_scale(vae, windows)
    latents = torch.cat([encode(vae, window).transpose(0, 1).flatten(1) for window in windows], dim=1)
    assert torch.allclose(latents.mean(dim=1), torch.zeros(4), atol=1e-4)
    assert torch.allclose(latents.std(dim=1), torch.ones(4), atol=1e-3)
    vae.save_pretrained(tmp_path)
    assert AutoencoderKLWan.from_pretrained(tmp_path).config.latents_std == vae.config.latents_std


def test_pixels_round_trip():
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(to_pixels(every)), every)


def test_text_is_padded_with_zeros_past_its_end(generator):
    embed = generator.embedder(tokens=12)
    short, long = embed(["hé", "a caption that is longer than twelve bytes"])
    assert short.shape == (12, 16)
    assert short[:4].abs().sum(dim=1).all()  # three bytes and the end token
    assert not short[4:].any()
    assert long.abs().sum(dim=1).all()
    assert torch.equal(embed(["hé"])[0], short)
    assert clean_caption(" a &amp;amp; b\n c ") == "a & b c"


def test_the_production_loader_reads_a_saved_folder(generator, tmp_path):
    for name in ("transformer", "vae", "text_encoder", "tokenizer"):
        getattr(generator, name).save_pretrained(tmp_path / name)
    loaded = load_generator(tmp_path).to(torch.device("cpu"))
    assert torch.equal(loaded.embedder(12)(["a"]), generator.embedder(12)(["a"]))
    assert torch.equal(encode(loaded.vae, pixels(5)), encode(generator.vae, pixels(5)))
