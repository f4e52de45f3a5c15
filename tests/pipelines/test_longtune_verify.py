"""`curate train verify`: all proofs hold on a toy of any layout, and each fails where what it is of is broken."""

import json
from dataclasses import replace

import pytest
import torch
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipelines.longtune import stream as streams
from pipelines.longtune import verify as verify_module
from pipelines.longtune.config import CausalConfig, Config, load_config
from pipelines.longtune.methods.far import FarStream
from pipelines.longtune.model import cache as caches
from pipelines.longtune.model import masks, wan_causal
from pipelines.longtune.model.far import attach_far
from pipelines.longtune.proofs import attention, bits, cost, gradient, pixels
from pipelines.longtune.proofs.subject import Proof, Subject, apart
from pipelines.longtune.verify import FAR, PROOFS, prove
from pipelines.longtune.verify_command import verify
from pipelines.longtune.weights import make_generator
from tests.pipelines.longtune_run import make_run

APP = typer.Typer()
APP.command("verify")(verify)


@pytest.fixture
def subject() -> Subject:
    return toy()


def toy(**causal: object) -> Subject:
    values = load_config("tiny").to_json()
    config = Config.model_validate({**values, "causal": {"block": 3, "window": 6, "sink": 1}})
    torch.manual_seed(0)
    generator = make_generator(config.model)
    transformer, vae = generator.transformer.eval().requires_grad_(False), generator.vae.eval().requires_grad_(False)
    return Subject(transformer, vae, config.causal.model_copy(update=causal), config.data.latents, FAR)


TOY = toy()


def results(proofs: list[Proof]) -> dict[str, str]:
    return {proof.name: proof.result for proof in proofs}


def test_every_proof_holds_of_a_toy_of_any_layout():
    """Blocks of 1 and 8, a sink across blocks, both kinds of positions; unlimited windows cannot be flat. Blocks of 3
    are those of the command below."""
    pytest.importorskip("torchao")
    for causal in (
        {"block": 1, "window": 4, "sink": 2, "positions": "absolute"},
        {"block": 8, "window": 19, "sink": 3},
    ):
        found = prove(toy(**causal))
        assert len(found) == len(PROOFS)  # FAR's is none, that of flatness is two
        assert set(results(found).values()) == {"pass"}, [proof for proof in found if proof.result != "pass"]
        equal = [proof for proof in found if proof.holds == "at most" and proof.name != "INT8 weights stay near"]
        assert all(proof.measured < 1e-5 for proof in equal)  # a toy is held to less than a large generator
    far = toy(window=6, sink=0)
    attach_far(far.model)
    assert results(prove(far)).get("a stream beside its coarse past is a training pass") == "pass"
    endless = results(prove(toy(window=-1, sink=0)))
    assert endless.pop("cache bytes do not grow") == endless.pop("operations of a block do not grow") == "skip"
    assert set(endless.values()) == {"pass"}


def wrong_window(original):
    """Masks that see a frame more than the cache holds."""

    def visible(query, key, layout, *, own_block):
        wider = layout.model_copy(update={"window": layout.window + 1}) if layout.window > 0 else layout
        return original(query, key, wider, own_block=own_block)

    return visible


def test_a_mask_that_hides_nothing_fails(subject, monkeypatch):
    monkeypatch.setattr(masks, "visible", lambda query, key, *_, **__: torch.ones(len(query), len(key)).bool())
    assert attention.no_look_ahead(subject).result == "fail"
    assert attention.stream_is_training(subject).result == "fail"
    assert attention.wrong_masks_show(subject).result == "pass"  # it differs from the stream, as it should


def test_places_by_frame_number_fail_where_positions_are_relative(subject, monkeypatch):
    monkeypatch.setattr("pipelines.longtune.proofs.subject.training_positions", lambda frames, layout: frames)
    assert attention.stream_is_training(subject).result == "fail"


def test_a_cache_that_forgets_nothing_fails(subject, monkeypatch):
    monkeypatch.setattr(caches, "visible", lambda query, key, *_, **__: torch.ones(len(query), len(key)).bool())
    assert [proof.result for proof in cost.flat(subject)] == ["fail", "fail"]


def test_a_coarse_past_at_another_place_fails(monkeypatch):
    far = toy(window=6, sink=0)
    attach_far(far.model)
    monkeypatch.setattr(FarStream, "_read", lambda self: None)
    assert [proof.result for proof in attention.coarse_past(far)] == ["fail"]


def test_a_stale_cache_fails(subject, monkeypatch):
    """A switch that only changes the text."""
    monkeypatch.setattr(streams.CausalStream, "switch", lambda self, text: self._say(text))
    assert attention.recache_in_sight(subject).result == "fail"
    assert attention.recache_later(subject).result == "fail"


def test_a_prompt_of_the_batch_in_all_places_fails(subject, monkeypatch):
    original = wan_causal.CausalWanTransformer3DModel.forward

    def mixed(self, latents, timestep, text, **options):
        return original(self, latents, timestep, text[:1].expand_as(text), **options)

    monkeypatch.setattr(wan_causal.CausalWanTransformer3DModel, "forward", mixed)
    assert attention.batch_is_runs(subject).result == "fail"


def test_tokens_without_a_place_fail(subject, monkeypatch):
    monkeypatch.setattr(wan_causal, "rotate", lambda states, by: states)
    assert attention.stock(subject).result == "fail"


def test_a_graph_in_the_cache_fails(subject, monkeypatch):
    def leaking(self, block):
        with torch.enable_grad():
            numbers = tuple(range(self.frame, self.frame + block.shape[2]))
            levels = torch.zeros(len(block), len(numbers))
            _, fresh = self._forward(block, levels, numbers, collect=True)
        self.cache = replace(self.cache, frames=self.cache.frames + numbers, layers=tuple(fresh))
        if len(self.cache.frames) > len(numbers):
            self.cache = replace(self.cache, frames=numbers)
        self.frame += len(numbers)

    monkeypatch.setattr(streams.CausalStream, "commit", leaking)
    assert gradient.newest_clip_only(subject).result == "fail"


def test_adapters_that_touch_the_base_fail(subject, monkeypatch):
    original = torch.optim.SGD.step

    def step(self, *arguments):
        subject.model.proj_out.bias.data += 1e-3
        return original(self, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    assert gradient.adapters_leave_the_base(subject).result == "fail"


def test_a_decoder_that_starts_anew_fails(subject, monkeypatch):
    original = pixels.StreamingDecoder.unclamped

    def forgetful(self, latent):
        self._started = False
        self._features = [None] * len(self._features)
        return original(self, latent)

    monkeypatch.setattr(pixels.StreamingDecoder, "unclamped", forgetful)
    assert pixels.decoded_in_parts(subject).result == "fail"


def test_an_encoder_that_starts_anew_fails(subject, monkeypatch):
    original = pixels.StreamingEncoder.push

    def forgetful(self, picture):
        if self.waiting == pixels.GROUP - 1:
            self._features = [part * 0 if torch.is_tensor(part) else part for part in self._features]
        return original(self, picture)

    monkeypatch.setattr(pixels.StreamingEncoder, "push", forgetful)
    assert pixels.encoded_in_parts(subject).result == "fail"


def test_coarse_weights_fail(subject, monkeypatch):
    def four_steps(model):
        for block in model.blocks:
            for part in (block.attn1, block.attn2, block.ffn):
                for weight in part.parameters():
                    weight.data = (weight.data * 4 / weight.data.abs().max()).round() * weight.data.abs().max() / 4
        return 0

    monkeypatch.setattr(bits, "quantize_int8", four_steps)
    assert bits.eight_bits(subject).result == "fail"


def test_a_proof_that_breaks_down_is_a_failed_one(subject, monkeypatch):
    def broken(*_, **__):
        raise ValueError("no such thing")

    monkeypatch.setattr(streams.CausalStream, "switch", broken)
    monkeypatch.setattr(verify_module, "PROOFS", [attention.stock, attention.recache_later])
    found = {proof.detail: proof.result for proof in prove(subject)}
    assert found.pop("no such thing") == "fail"
    assert set(found.values()) == {"pass"}


@settings(max_examples=20, deadline=None)
@given(
    block=st.integers(1, 8),
    more=st.one_of(st.none(), st.integers(0, 6)),
    sink=st.integers(0, 9),
    positions=st.sampled_from(["relative", "absolute"]),
    frame=st.integers(0, 23),
    seed=st.integers(0, 999),
)
def test_any_layout_streams_as_it_is_trained_and_never_looks_ahead(block, more, sink, positions, frame, seed):
    window = -1 if more is None else block + more
    layout = CausalConfig(block=block, window=window, sink=sink, positions=positions)
    one = replace(TOY, layout=layout)
    frames = max(1, 24 // block) * block
    clean, noisy, text = one.latents(frames, seed=seed), one.latents(frames, seed=seed + 1), one.text()
    forced = one.teacher_forced(clean, noisy, text, layout)
    assert apart(one.streamed(clean, noisy, 0.7, text, layout), forced) < 1e-5
    other, frame = clean.clone(), frame % frames
    other[:, :, frame] += 1
    ahead = frame // block * block
    before, after = (one.masked(video, text, layout)[0] for video in (clean, other))
    assert torch.equal(before[:, :, :ahead], after[:, :, :ahead])
    assert not torch.equal(before[:, :, ahead:], after[:, :, ahead:])


def test_the_command_prints_a_table_and_fails_where_a_mask_is_wrong(tmp_path, monkeypatch):
    pytest.importorskip("torchao")
    run = make_run(tmp_path / "run")
    whole = CliRunner().invoke(APP, [str(run)])
    assert whole.exit_code == 0, whole.output
    assert "cached stream is one masked pass" in whole.stdout
    assert "fail" not in whole.stdout
    assert "M weights on" in whole.stderr
    monkeypatch.setattr(masks, "visible", wrong_window(masks.visible))
    wrong = CliRunner().invoke(APP, [str(run), "--json"])
    assert wrong.exit_code == 1
    told = json.loads(wrong.stdout)
    assert not told["passed"]
    found = {row["name"]: row["result"] for row in told["proofs"]}
    assert found["cached stream is one masked pass"] == "fail"
    assert found["the same in other layouts"] == "fail"
    assert found["forward pass is diffusers' WanTransformer3DModel"] == "pass"
    assert "Traceback" not in wrong.output


def test_a_folder_without_a_checkpoint_is_wrong_use(tmp_path):
    result = CliRunner().invoke(APP, [str(tmp_path)])
    assert (result.exit_code, "no checkpoint here" in result.stderr) == (2, True)
