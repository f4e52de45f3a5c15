"""Teacher forcing: what counts in its loss, its weight, and error recycling."""

import pytest
import torch

from pipelines.longtune.errors import TuneError
from pipelines.longtune.methods import make_method
from pipelines.longtune.methods.flow import bell_weight, block_index, draw_levels, velocity_loss
from pipelines.longtune.methods.options import RecyclingOptions, TeacherForcingOptions
from pipelines.longtune.methods.recycling import ErrorRecycler
from pipelines.longtune.noise import shifted
from tests.pipelines.tiny_longtune import LAYOUT, make_batch, make_model, make_tools, rng

EAGER = {"context": 1, "latent": 1, "noise": 1, "clean": 0, "warm_up": 0}


@pytest.fixture(scope="module")
def model():
    return make_model()


def teacher_forcing(model, recycling: dict | None = None, **options):
    recycled = None if recycling is None else RecyclingOptions(**recycling)
    return make_method(TeacherForcingOptions(recycling=recycled, **options), make_tools(model))


def loss(method, batch, step=0, seed=0):
    return method.losses(batch, step, rng(seed))["generator"]


def test_a_sample_that_does_not_count_changes_nothing(model):
    batch = make_batch(size=2)
    target = batch.target.clone()
    target[1] = False
    both = loss(teacher_forcing(model), make_batch(size=2, target=target))
    garbage = batch.latents.clone()
    garbage[1] = 1e3
    other = loss(teacher_forcing(model), make_batch(size=2, target=target, latents=garbage))
    assert torch.equal(both.value, other.value)
    assert both.by_sample[1] == 0
    assert both.value == both.by_sample[0]


def test_a_batch_without_a_sample_that_counts_has_a_loss_of_nothing_with_a_graph(model):
    model.zero_grad()
    none = loss(teacher_forcing(model), make_batch(target=torch.zeros(1, 8, dtype=torch.bool)))
    none.value.backward()
    assert none.value.item() == 0
    assert all((parameter.grad == 0).all() for parameter in model.parameters())
    model.zero_grad()


def test_only_target_frames_count(model):
    target = torch.tensor([[False] * 6 + [True] * 2])
    velocity, wanted = torch.zeros(1, 4, 8, 2, 2), torch.ones(1, 4, 8, 2, 2)
    wanted[:, :, :6] = 100
    assert velocity_loss(velocity, wanted, target).value == 1
    assert velocity_loss(velocity, wanted, target, torch.full((1, 8), 3.0)).value == 3


def test_the_caption_decides_how_the_context_is_read(model):
    method = teacher_forcing(model)
    assert loss(method, make_batch()).value != loss(method, make_batch(captions=["another"])).value


def test_levels_follow_blocks_also_behind_a_gap_and_in_a_cut_sink():
    frames = torch.tensor([0, 6, 7, 8, 9])
    assert block_index(frames, 2).tolist() == [0, 1, 1, 2, 2]
    levels = draw_levels(make_batch(5, frames=frames), 2, 5.0, rng())[0]
    assert levels[1] == levels[2] != levels[3] == levels[4]
    assert len(levels.unique()) == 3


def test_bell_weight_has_mean_one_and_its_top_in_the_middle():
    levels = shifted(torch.linspace(0.001, 1, 1000), 5.0)
    weight = bell_weight(levels, 5.0)
    assert weight.mean().item() == pytest.approx(1, abs=1e-4)
    assert levels[weight.argmax()].item() == pytest.approx(0.5, abs=0.01)
    assert weight.min() == 0


def test_the_bell_is_an_option(model):
    assert (
        loss(teacher_forcing(model, weight="bell"), make_batch()).value
        != loss(teacher_forcing(model), make_batch()).value
    )


@pytest.mark.parametrize(
    "nothing", [{"context": 0, "latent": 0, "noise": 0}, {"scale": 0}, {"clean": 1}, {"warm_up": 9}]
)
def test_without_injection_recycling_is_teacher_forcing_bit_for_bit(model, nothing):
    plain, recycled = teacher_forcing(model), teacher_forcing(model, {**EAGER, **nothing})
    for step in range(3):
        a, b = (loss(method, make_batch(seed=step), step, seed=step) for method in (plain, recycled))
        assert torch.equal(a.value, b.value)
    assert len(recycled.state_dict()) == 2  # it did collect


@pytest.mark.parametrize("what", ["context", "latent", "noise"])
def test_each_place_takes_mistakes(model, what):
    only = {**EAGER, "context": 0, "latent": 0, "noise": 0, what: 1, "buckets": 1}
    plain, recycled = teacher_forcing(model), teacher_forcing(model, only)
    losses = [[loss(method, make_batch(), step).value for step in range(2)] for method in (plain, recycled)]
    assert losses[0][0] == losses[1][0]  # there was nothing to put in yet
    assert losses[0][1] != losses[1][1]


def test_mistakes_are_the_clean_estimate_s_and_go_where_the_coins_say():
    recycler = ErrorRecycler(RecyclingOptions(**{**EAGER, "noise": 0, "buckets": 1, "scale": 0.5}))
    clean, noise = torch.zeros(1, 4, 4, 2, 2), torch.zeros(1, 4, 4, 2, 2)
    index, levels = torch.tensor([0, 0, 1, 1]), torch.full((1, 4), 0.3)
    mistakes = torch.full((1, 4, 4, 2, 2), 2.0)
    target = torch.tensor([[True, True, True, False]])
    recycler.collect(mistakes, levels, index, target)
    assert len(recycler) == 1  # the second block does not count wholly
    context, latents, same = recycler.inject(clean, noise, levels, index, 0, rng())
    assert (context == 1).all()
    assert (latents == 1).all()
    assert same is noise
    assert not clean.any()


def test_mistakes_stay_in_their_range_of_levels():
    recycler = ErrorRecycler(RecyclingOptions(**{**EAGER, "context": 0, "buckets": 2, "scale": 1}))
    clean, index = torch.zeros(1, 4, 4, 2, 2), torch.tensor([0, 0, 1, 1])
    mistakes = torch.cat([torch.full((1, 4, 2, 2, 2), 1.0), torch.full((1, 4, 2, 2, 2), 2.0)], dim=2)
    recycler.collect(mistakes, torch.tensor([[0.1, 0.1, 0.9, 0.9]]), index, torch.ones(1, 4, dtype=torch.bool))
    _, latents, _ = recycler.inject(clean, clean.clone(), torch.tensor([[0.8, 0.8, 0.2, 0.2]]), index, 0, rng())
    assert latents[0, 0, :, 0, 0].tolist() == [2, 2, 1, 1]


def test_what_is_kept_is_bounded_and_the_oldest_goes_first():
    one = 4 * 2 * 2 * 2 * 2  # bytes of a block
    small = ErrorRecycler(RecyclingOptions(**{**EAGER, "buckets": 1, "size": 3}))
    index, levels = torch.tensor([0, 0]), torch.full((1, 2), 0.5)
    target = torch.ones(1, 2, dtype=torch.bool)
    for number in range(5):
        small.collect(torch.full((1, 4, 2, 2, 2), float(number)), levels, index, target)
    kept = small.state_dict()["4x2x2x2.mistakes"]
    assert kept[:, 0, 0, 0, 0].tolist() == [2, 3, 4]
    assert small.nbytes == 3 * one

    large = ErrorRecycler(RecyclingOptions(**{**EAGER, "megabytes": 1}))
    for number in range(12):
        large.collect(torch.rand(1, 4, 2, 128, 128), torch.full((1, 2), number / 12), index, target)
    assert large.nbytes <= 1_000_000
    assert len(large) == 3
    with pytest.raises(TuneError, match="megabytes"):
        large.collect(torch.rand(1, 4, 2, 512, 512), levels, index, target)


def test_what_is_not_finite_is_not_kept():
    recycler = ErrorRecycler(RecyclingOptions())
    recycler.collect(
        torch.full((1, 4, 2, 2, 2), torch.nan),
        torch.zeros(1, 2),
        torch.tensor([0, 0]),
        torch.ones(1, 2, dtype=torch.bool),
    )
    assert len(recycler) == 0


def test_a_resumed_recycler_goes_on_bit_for_bit(model):
    """Also with takes of two sizes in turn."""

    def steps(method, numbers):
        return [
            loss(method, make_batch(seed=step, width=4 + 2 * (step % 2)), step, seed=step).value for step in numbers
        ]

    straight = teacher_forcing(model, EAGER)
    wanted = steps(straight, range(6))
    first = teacher_forcing(model, EAGER)
    steps(first, range(3))
    second = teacher_forcing(model, EAGER)
    second.load_state_dict(first.state_dict())
    assert steps(second, range(3, 6)) == wanted[3:]
    assert all(
        torch.equal(a, b) for a, b in zip(second.state_dict().values(), straight.state_dict().values(), strict=True)
    )


def test_a_state_of_another_method_is_refused(model):
    with pytest.raises(ValueError, match="keeps no state"):
        teacher_forcing(model).load_state_dict({"4x2x2x2.mistakes": torch.zeros(1)})


def test_layout_is_respected(model):
    """The last block's loss does not change with what neither sink nor window holds."""
    batch = make_batch(10)
    other = batch.latents.clone()
    other[:, :, 2:4] += 1
    target = torch.tensor([[False] * 8 + [True] * 2])
    shallow = make_model(num_layers=1)  # deeper ones remember what was seen by what they see
    assert (LAYOUT.window, LAYOUT.sink) == (4, 2)
    a = loss(teacher_forcing(shallow), make_batch(10, target=target))
    b = loss(teacher_forcing(shallow), make_batch(10, target=target, latents=other))
    assert torch.allclose(a.value, b.value, atol=1e-6)
