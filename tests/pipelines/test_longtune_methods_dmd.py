"""Streaming DMD: the gradient against its closed form, who is trained by what, and a stream that outlives a kill."""

import copy

import pytest
import torch

from pipelines.longtune.config import CausalConfig, Config
from pipelines.longtune.errors import TuneError
from pipelines.longtune.methods import make_method
from pipelines.longtune.methods.dmd import dmd_gradient, dmd_loss, draw_judged, judge
from pipelines.longtune.methods.method import Prompt
from pipelines.longtune.methods.options import StreamingDmdOptions
from pipelines.longtune.noise import TIMESTEPS
from pipelines.longtune.vae import StreamingDecoder, encode
from pipelines.longtune.weights import make_generator
from tests.pipelines.tiny_longtune import SIZE, Spy, embed, gradients, make_batch, make_model, make_tools, rng

LAYOUT = CausalConfig(block=2, window=4, sink=2)
PROMPTS = [[Prompt(0, "a dog"), Prompt(6, "the dog barks")], [Prompt(0, "a cat"), Prompt(4, "the cat sleeps")]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher")
    make_model(1).save_pretrained(path / "transformer")
    return path


def dmd(folder, model=None, seed=0, **options):
    values = {"clip": 6, "fresh": 4, "max_frames": 14, "steps": 3, "reencode": False, **options}
    chosen = StreamingDmdOptions(teacher=str(folder), **values)
    return make_method(chosen, make_tools(make_model() if model is None else model, LAYOUT, seed=seed))


def prompts_batch(**change):
    return make_batch(size=2, timelines=PROMPTS, **change)


def test_the_gradient_is_its_closed_form_for_linear_scores():
    """Teacher and critic with velocities c * noisy estimate (1 - level * c) * noisy; the rest is arithmetic."""
    clip = torch.randn(2, 4, 6, 4, 4, generator=rng(1)).requires_grad_()
    noise, level = torch.randn(clip.shape, generator=rng(2)), torch.tensor([[0.3], [0.8]])
    text, negative = embed(["a", "b"]), embed([""]).expand(2, -1, -1)
    scored = torch.zeros(2, 6, dtype=torch.bool)
    scored[:, 2:] = True

    def linear(told, untold):
        def answer(latents, text, timestep, positions):
            factor = torch.where(text[:, 0, 0] == negative[0, 0, 0], untold, told)
            return latents * factor[:, None, None, None, None]

        return Spy(answer)

    fake, real_told, real_untold, guidance = 0.2, 0.5, 0.9, 3.0
    loss = judge(
        clip,
        scored,
        critic=linear(torch.tensor(fake), torch.tensor(fake)),
        teacher=linear(torch.tensor(real_told), torch.tensor(real_untold)),
        text=text,
        negative=negative,
        guidance=guidance,
        level=level,
        noise=noise,
    )
    loss.value.backward()

    sigma = level[:, :, None, None, None]
    noisy = (1 - sigma) * clip.detach() + sigma * noise
    told, untold = (1 - sigma * real_told) * noisy, (1 - sigma * real_untold) * noisy
    teacher, critic = told + guidance * (told - untold), (1 - sigma * fake) * noisy
    closed = (critic - teacher) / (clip.detach() - teacher).abs().mean(dim=(1, 2, 3, 4), keepdim=True)
    values = 2 * 4 * 4 * 4 * 4  # clips, channels, scored frames, height, width
    assert torch.allclose(clip.grad[:, :, 2:] * values, closed[:, :, 2:], rtol=1e-4, atol=1e-5)
    assert not clip.grad[:, :, :2].any()
    assert loss.by_sample.shape == (2,)


def test_equal_judges_have_no_gradient():
    clip, estimate = torch.randn(1, 4, 2, 2, 2, generator=rng(1)), torch.randn(1, 4, 2, 2, 2, generator=rng(2))
    assert not dmd_gradient(clip, estimate, estimate).any()
    assert not dmd_gradient(clip, clip, clip).any()  # 0 / 0 is no gradient either


def test_what_does_not_count_has_no_gradient():
    clip = torch.randn(2, 4, 2, 2, 2, generator=rng(1)).requires_grad_()
    scored = torch.tensor([[True, True], [False, False]])
    dmd_loss(clip, torch.ones(2, 4, 2, 2, 2), scored).value.backward()
    assert not clip.grad[1].any()
    assert torch.allclose(clip.grad[0], torch.full((4, 2, 2, 2), 1 / 32))
    assert dmd_loss(clip, torch.ones(2, 4, 2, 2, 2), scored & False).value == 0


def test_levels_judged_at_keep_away_from_both_ends():
    levels = draw_judged(1000, 5.0, 0.02, 0.98, rng())
    assert (levels.min() >= 0.02, levels.max() <= 0.98) == (True, True)


def test_the_generator_learns_at_every_fifth_step_and_the_critic_at_all(folder):
    method, generator = dmd(folder, max_frames=100), rng()
    learnt = [sorted(method.losses(prompts_batch(), step, generator)) for step in range(7)]
    assert learnt == [["critic", "generator"]] + [["critic"]] * 4 + [["critic", "generator"], ["critic"]]


def test_each_network_is_trained_by_its_own_loss_alone(folder):
    model = make_model()
    method = dmd(folder, model)
    losses = method.losses(prompts_batch(), 0, rng())
    critic, teacher = method.networks["critic"], method.frozen["teacher"]
    losses["generator"].value.backward()
    assert gradients(critic) == {}
    assert gradients(teacher) == {}
    ours = gradients(model)
    assert any(value.any() for value in ours.values())
    losses["critic"].value.backward()
    assert any(value.any() for value in gradients(critic).values())
    assert gradients(teacher) == {}
    assert all(torch.equal(ours[name], value) for name, value in gradients(model).items())


def test_the_gradient_goes_through_each_new_block_s_last_pass_alone(folder):
    model = make_model()
    spy = Spy(model)
    spy.config, spy.dtype, spy.device = model.config, model.dtype, model.device
    method, generator = dmd(folder, spy, critic_per_generator=1, steps=3), rng()
    for step in range(3):
        spy.calls.clear()
        losses = method.losses(prompts_batch(), step, generator)
        graphs = [call for call in spy.calls if call["grad"]]
        blocks = 3 if step == 0 else 2
        assert len(graphs) == blocks
        assert not any(call["latents"].requires_grad for call in graphs)
        for call in spy.calls:
            assert not any(tensor.requires_grad for layer in call["cache"].layers for tensor in layer)
        commits = [call for call in spy.calls if call["collect"]]
        assert len(commits) >= blocks  # more where a prompt was switched
        assert all((call["timestep"] == 0).all() for call in commits)
        assert not any(call["grad"] for call in commits)
        assert len({float(call["timestep"][0, 0]) for call in graphs}) == 1  # the exit step is one for all blocks
        losses["generator"].value.backward()


def test_older_clips_get_no_gradient(folder):
    method, generator = dmd(folder, critic_per_generator=1), rng()
    method.losses(prompts_batch(), 0, generator)
    recent = method._rollout.recent.requires_grad_()
    method.losses(prompts_batch(), 1, generator)["generator"].value.backward()
    assert recent.grad is None or not recent.grad.any()


def test_a_clip_overlaps_the_one_before_and_the_video_starts_anew_at_its_end(folder):
    method, generator, frames = dmd(folder), rng(), []
    for step in range(4):
        before = None if method._rollout is None else method._rollout.recent
        method.losses(prompts_batch(), step, generator)
        frames.append(method._rollout.stream.frame)
        if step in (1, 2):
            assert torch.equal(method._rollout.recent[:, :, :1], before[:, :, -1:])
    assert frames == [6, 10, 14, 6]


def test_prompts_are_neighbours_in_a_timeline_and_switch_once_at_a_clip_s_start(folder):
    method, generator, shown = dmd(folder), rng(), []
    for step in range(3):
        method.losses(prompts_batch(), step, generator)
        shown.append(method._rollout.stream.text)
    assert torch.equal(shown[0], embed(["a dog", "a cat"]))
    assert torch.equal(shown[2], embed(["the dog barks", "the cat sleeps"]))

    never = dmd(folder, switch=0)
    for step in range(3):
        never.losses(prompts_batch(), step, generator)
    assert torch.equal(never._rollout.stream.text, shown[0])


def test_after_a_switch_the_memory_is_of_the_new_prompt(folder):
    method, generator = dmd(folder), rng()
    method.losses(prompts_batch(), 0, generator)
    rollout = method._rollout
    rollout.switch_at = rollout.stream.frame
    kept = [keys.clone() for keys, _ in rollout.stream.cache.layers]
    latents = rollout.stream.kept.clone()
    fresh = copy.copy(rollout.stream)
    fresh.switch(embed(["the dog barks", "the cat sleeps"]))
    assert torch.equal(fresh.kept, latents)
    assert not torch.equal(fresh.cache.layers[1][0], kept[1])


def test_ranks_draw_alike_what_they_must(folder):
    """Two ranks have random numbers of their own, yet one exit step, one switch and one number of passes."""
    seen = []
    for rank in range(2):
        spy = Spy(make_model())
        spy.config, spy.dtype, spy.device = spy._answer.config, spy._answer.dtype, torch.device("cpu")
        method, generator = dmd(folder, spy, seed=5), rng(rank)
        for step in range(5):
            batch = prompts_batch(seed=rank)
            if rank:
                batch = make_batch(size=2, timelines=[[Prompt(0, "alone")], [Prompt(0, "alone too")]])
            method.losses(batch, step, generator)
        seen.append([(call["timestep"].tolist(), call["grad"], call["latents"].shape) for call in spy.calls])
    assert seen[0] == seen[1]


def test_a_video_in_a_bad_sample_s_place_does_not_count(folder):
    target = torch.ones(2, 8, dtype=torch.bool)
    target[1] = False
    bad = [PROMPTS[0], [Prompt(0, "nothing"), Prompt(2, "at all")]]
    one = dmd(folder).losses(prompts_batch(target=target), 0, rng())
    other = dmd(folder).losses(make_batch(size=2, timelines=bad, target=target), 0, rng())
    assert all(torch.equal(one[name].value, other[name].value) for name in one)
    counted = dmd(folder).losses(make_batch(size=2, timelines=bad), 0, rng())
    assert not torch.equal(counted["critic"].value, one["critic"].value)
    assert all(loss.by_sample is None for loss in one.values())  # whose videos are they?


def steps(method, generator, numbers):
    """A training loop in small: both networks, with momentum-free steps so that all state is in weights."""
    values = []
    for step in numbers:
        losses = method.losses(prompts_batch(seed=step), step, generator)
        for name, loss in losses.items():
            network = method.networks[name]
            network.zero_grad()
            loss.value.backward()
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter -= 0.05 * parameter.grad
            values.append((name, loss.value.item()))
    return values


@pytest.mark.parametrize("killed", [1, 2, 4])
def test_a_run_that_is_killed_in_mid_video_goes_on_bit_for_bit(folder, killed, tmp_path):
    options = {"critic_per_generator": 2}
    generator = rng(3)
    wanted = steps(dmd(folder, **options), generator, range(6))

    first, generator = dmd(folder, **options), rng(3)
    done = steps(first, generator, range(killed))
    torch.save(first.state_dict(), tmp_path / "state")  # nothing that weights_only refuses
    weights = {name: copy.deepcopy(network.state_dict()) for name, network in first.networks.items()}

    second, later = dmd(folder, **options), torch.Generator()
    later.set_state(generator.get_state())
    for name, network in second.networks.items():
        network.load_state_dict(weights[name])
    second.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert done + steps(second, later, range(killed, 6)) == wanted


def test_a_later_clip_begins_with_an_image_latent(folder):
    torch.manual_seed(0)
    made = make_generator(Config.model_validate({"model": {"tiny": {}}, "train": {"vae_steps": 1}}).model)
    vae = made.vae.eval()
    method = dmd(folder, reencode=True)
    object.__setattr__(method.tools, "vae", vae)
    recent = torch.randn(1, 4, 5, 4, 4, generator=rng(1))
    image = method._as_image(recent, 2)
    picture = StreamingDecoder(vae).decode(recent[:, :, :4])[:, :, -1:]
    assert image.shape == (1, 4, 1, 4, 4)
    assert torch.equal(image, encode(vae, picture))
    generator = rng()
    for step in range(2):
        assert method.losses(prompts_batch(), step, generator)["critic"].value.isfinite()


def test_a_teacher_that_does_not_fit_is_named(folder, tmp_path):
    with pytest.raises(TuneError, match=r"method.teacher: .*nowhere"):
        dmd(tmp_path / "nowhere")
    make_model(in_channels=8, out_channels=8).save_pretrained(tmp_path / "transformer")
    with pytest.raises(TuneError, match="in_channels is 8, the generator's 4"):
        dmd(tmp_path)
    assert SIZE["in_channels"] == 4
    assert TIMESTEPS == 1000
