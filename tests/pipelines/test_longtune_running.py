"""Adapters, averages, broken losses, exports and estimates: what the loop does beside descending."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pipelines.longtune import estimate as estimates
from pipelines.longtune.adapters import FILE, add_adapters, base_weights, merge_adapters, save_adapters, trainable
from pipelines.longtune.config import Config, EmaConfig, LoraConfig, TrainConfig
from pipelines.longtune.data.loader import Batch, Cursor
from pipelines.longtune.ema import Ema
from pipelines.longtune.errors import TuneError, UsageError
from pipelines.longtune.loop import Loop, Stage
from pipelines.longtune.losses import SampleLosses
from pipelines.longtune.methods.method import LatentBatch, Loss, Prompt, Tools
from pipelines.longtune.methods.options import TeacherForcingOptions
from pipelines.longtune.methods.teacher_forcing import TeacherForcing
from pipelines.longtune.packed import read_packed, write_packed
from pipelines.longtune.parallel import World
from pipelines.longtune.trainee import Trainee
from pipelines.longtune.weights import Generator, make_generator, save_transformer

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
ALONE = World(0, 1, CPU)
TINY = Config.model_validate(
    {
        "model": {"tiny": {}, "text_tokens": 8},
        "data": {"frames": 13, "height": 32, "width": 32},
        "causal": {"block": 1, "window": 2, "sink": 1},
        "train": {"vae_steps": 1, "gradient_checkpointing": False, "device": "cpu"},
    }
)


def made(config: Config = TINY) -> Generator:
    torch.manual_seed(0)
    return make_generator(config.model).to(CPU)


def teacher(generator: Generator, config: Config = TINY) -> TeacherForcing:
    tools = Tools(
        generator.transformer,
        generator.vae,
        generator.embedder(config.model.text_tokens),
        config.causal,
        config.data.latents,
        5.0,
        CPU,
    )
    return TeacherForcing(tools, TeacherForcingOptions())


def takes(count: int = 2, frames: int = 4, side: int = 4) -> LatentBatch:
    latents = torch.randn(count, 4, frames, side, side, generator=torch.Generator().manual_seed(1))
    keys = [f"take{number}" for number in range(count)]
    return LatentBatch(
        latents,
        torch.arange(frames),
        torch.ones(count, frames, dtype=torch.bool),
        ["a bar"] * count,
        [[Prompt(0, "a bar")]] * count,
        keys,
    )


def velocity(transformer: torch.nn.Module, stock: bool = False) -> torch.Tensor:
    """What a transformer says of some noise, all frames at one level and in sight of each other."""
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(1, 4, 3, 4, 4, generator=generator)
    text = torch.randn(1, 8, 16, generator=generator)
    with torch.no_grad():
        if stock:
            return transformer(latents, torch.tensor([500.0]), text, return_dict=False)[0]
        return transformer(latents, torch.full((1, 3), 500.0), text, positions=torch.arange(3))[0]


def some_steps(generator: Generator, count: int, ema: EmaConfig | None = None) -> Trainee:
    method = teacher(generator)
    trainee = Trainee("generator", generator.transformer, 1e-2, TrainConfig(), ema, ALONE)
    for step in range(count):
        trainee.forget_gradients()
        method.losses(takes(), step, torch.Generator().manual_seed(step))["generator"].value.backward()
        trainee.gradient_norm()
        trainee.step(step)
    return trainee


def test_adapters_leave_the_base_bit_identical_and_merge_to_what_they_compute(tmp_path):
    generator, untouched = made(), made()
    add_adapters(generator.transformer, LoraConfig(rank=3, alpha=6))
    assert torch.equal(velocity(generator.transformer), velocity(untouched.transformer))  # before the first step
    trainee = some_steps(generator, 4)
    assert all("lora_" in name for name in trainee.trained)
    before = untouched.transformer.state_dict()
    after = base_weights(generator.transformer.state_dict())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    tuned = velocity(generator.transformer)
    assert (tuned - velocity(untouched.transformer)).abs().max() > 1e-3
    save_adapters(tmp_path, generator.transformer, generator.transformer.state_dict())
    merged = copy.deepcopy(untouched.transformer)
    merge_adapters(merged, tmp_path)
    assert merged.state_dict().keys() == before.keys()
    assert torch.allclose(velocity(merged), tuned, atol=1e-5)


def test_adapters_are_what_diffusers_loads(tmp_path):
    generator, untouched = made(), made()
    add_adapters(generator.transformer, LoraConfig(rank=3, alpha=6))
    some_steps(generator, 2)
    save_adapters(tmp_path / "lora", generator.transformer, generator.transformer.state_dict())
    save_transformer(tmp_path / "transformer", untouched.transformer, untouched.transformer.state_dict())
    stock = WanTransformer3DModel.from_pretrained(str(tmp_path / "transformer"))
    pipeline = WanPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=generator.vae,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        transformer=stock,
    )
    pipeline.load_lora_weights(str(tmp_path / "lora"))
    assert torch.allclose(velocity(pipeline.transformer, stock=True), velocity(generator.transformer), atol=1e-5)


def test_adapters_of_another_model_or_a_wrong_target_are_said_so(tmp_path):
    generator = made()
    with pytest.raises(UsageError, match=r"no Linear of a block is called to_x; there are .*attn1\.to_k"):
        add_adapters(generator.transformer, LoraConfig(targets=("to_q", "to_x")))
    add_adapters(generator.transformer, LoraConfig(rank=2))
    save_adapters(tmp_path, generator.transformer, generator.transformer.state_dict())
    other = made(Config.model_validate({"model": {"tiny": {"ffn_dim": 48}}, "train": {"vae_steps": 1}}))
    with pytest.raises(TuneError, match="cannot be loaded into this transformer"):
        merge_adapters(other.transformer, tmp_path)
    (tmp_path / FILE).write_bytes(b"\x80\x04rubbish")
    with pytest.raises(TuneError, match="cannot be loaded"):
        merge_adapters(made().transformer, tmp_path)


def test_the_average_follows_its_formula_from_its_start_and_steps_aside():
    network = torch.nn.Linear(2, 2, bias=False)
    ema = Ema(network, EmaConfig(decay=0.5, start=1))
    wanted = None
    for step, value in enumerate([1.0, 2.0, 4.0], start=1):
        with torch.no_grad():
            network.weight.fill_(value)
        ema.update(step)
        wanted = value if step == 1 else 0.5 * wanted + 0.5 * value
        assert torch.equal(ema.shadow["weight"], torch.full((2, 2), wanted))
    with ema.applied():
        assert (network.weight == wanted).all()
    assert (network.weight == 4.0).all()


def test_only_what_is_trained_is_averaged_in_float32():
    generator = made()
    add_adapters(generator.transformer, LoraConfig(rank=2))
    ema = Ema(generator.transformer, EmaConfig())
    assert ema.shadow.keys() == trainable(generator.transformer).keys()
    assert {value.dtype for value in ema.shadow.values()} == {torch.float32}


def test_checkpointed_gradients_are_the_plain_ones():
    found = []
    for wanted in (False, True):
        generator = made()
        if wanted:
            generator.transformer.enable_gradient_checkpointing()
        generator.transformer.train()
        teacher(generator).losses(takes(), 0, torch.Generator().manual_seed(0))["generator"].value.backward()
        found.append([parameter.grad for parameter in generator.transformer.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_warm_up_rises_to_the_rate():
    trainee = Trainee("a", torch.nn.Linear(1, 1), 1.0, TrainConfig(warmup=4), None, ALONE)
    trainee.network(torch.ones(1, 1)).sum().backward()
    assert [trainee.step(step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]


class Feeding:
    """Batches of two samples from a list of their values."""

    def __init__(self, values: list[tuple[float, float]]) -> None:
        self._values, self.waited = iter(values), 0.0

    def next(self) -> Batch:
        pair = torch.tensor(next(self._values))
        return Batch(
            None,
            pair.view(2, 1, 1, 1, 1),
            {},
            torch.arange(1),
            torch.ones(2, 1, dtype=torch.bool),
            ["", ""],
            [[Prompt(0, "")]] * 2,
            ["s:one", "s:two"],
            [],
            Cursor(),
        )


class State:
    """As much of a run's state as the loop touches."""

    def __init__(self) -> None:
        self.step, self.nan_steps, self.skipped = 0, 0, {"short": {}, "bad": {}}


def looped(
    values: list[tuple[float, float]], **train: object
) -> tuple[list[dict], torch.nn.Module, SampleLosses, State]:
    network, losses, state = torch.nn.Linear(1, 1, bias=False), SampleLosses(), State()
    settings = TrainConfig(lr=0.1, weight_decay=0, **train)
    trainee = Trainee("generator", network, 0.1, settings, None, ALONE)

    def loss(batch: Batch, step: int, rng: torch.Generator) -> dict[str, Loss]:
        own = network(batch.latents.flatten(1)).square()[:, 0]
        return {"generator": Loss(own.mean(), own.detach())}

    loop = Loop(settings, ALONE, Feeding(values), state, losses)
    rows = list(loop.steps(Stage("transformer", len(values), {"generator": trainee}, "generator", loss)))
    loop.settle()
    return rows, network, losses, state


NAN = float("nan")


def test_a_broken_loss_stops_the_run_and_names_the_sample():
    with pytest.raises(TuneError, match=r"step 2: the loss or its gradient is not finite, on s:two; .*on_nan: skip"):
        looped([(1.0, 2.0), (1.0, NAN)])


def test_a_broken_loss_is_skipped_and_counted_without_a_step():
    rows, network, losses, state = looped([(1.0, 2.0), (1.0, NAN), (1.0, 2.0)], on_nan="skip")
    assert [row["loss"] is None for row in rows] == [False, True, False]
    assert rows[1]["skipped"] == ["s:two"]
    assert state.nan_steps == 1
    assert torch.isfinite(network.weight).all()
    assert {key: entry.count for key, entry in losses.by_key.items()} == {"s:one": 2, "s:two": 2}


def test_a_gradient_that_is_not_finite_is_no_step_either():
    # The loss is finite, its gradient is not: 2 w x^2 overflows where (w x)^2 need not.
    rows, network, _, _ = looped([(1e-30, 1e19)], on_nan="skip", grad_clip=1.0)
    assert torch.isfinite(network.weight).all()
    assert rows[0]["loss"] is None or rows[0]["grad_norm"] < float("inf")


def test_weights_that_are_broken_themselves_end_a_run_that_skips():
    with pytest.raises(TuneError, match="10 steps in a row"):
        looped([(NAN, NAN)] * 12, on_nan="skip")


def test_accumulated_gradients_are_those_of_the_batch():
    weights = []
    for size in (None, 1):
        torch.manual_seed(0)
        _, network, losses, _ = looped([(1.0, 2.0)] * 3, micro_batch=size)
        weights.append(network.weight)
        assert losses.by_key["s:two"].count == 3
    assert torch.allclose(*weights, atol=1e-7)
    with pytest.raises(UsageError, match=r"must divide a rank's share of data.batch_size, which is 2 windows"):
        looped([(1.0, 2.0)], micro_batch=3)


def test_a_method_s_state_is_kept_without_pickle(tmp_path):
    state = {"history": [torch.arange(3), {"a": torch.ones(2, 2)}], "next": 4, "text": "x", "none": None, "empty": {}}
    write_packed(tmp_path / "method-00000", state)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    back = read_packed(tmp_path / "method-00000")
    assert torch.equal(back["history"][0], torch.arange(3))
    assert torch.equal(back["history"][1]["a"], torch.ones(2, 2))
    assert {key: back[key] for key in ("next", "text", "none", "empty")} == {
        "next": 4,
        "text": "x",
        "none": None,
        "empty": {},
    }
    with pytest.raises(TypeError, match="set is neither"):
        write_packed(tmp_path / "bad", {"a": {1}})
    (tmp_path / "method-00000.json").write_text("[")
    with pytest.raises(TuneError, match="cannot be read"):
        read_packed(tmp_path / "method-00000")


@pytest.mark.parametrize("rank", [None, 3])
def test_estimated_bytes_are_those_of_a_run(rank):
    values = TINY.to_json() | ({"lora": {"rank": rank, "alpha": rank}} if rank else {}) | {"ema": {}}
    config = Config.model_validate(values)
    found = estimates.estimate(config, estimates.find_gpu("H100 80GB"))
    generator = made()
    if config.lora is not None:
        add_adapters(generator.transformer, config.lora)
    tensors = some_steps(generator, 1, EmaConfig()).tensors()
    bytes_of = {
        slot: sum(value.nbytes for name, value in tensors.items() if name.split("/")[1] == slot)
        for slot in ("weight", "exp_avg", "exp_avg_sq", "ema")
    }
    memory = found["memory_bytes"]
    assert memory["optimizer"] == bytes_of["exp_avg"] + bytes_of["exp_avg_sq"]
    assert memory["average"] == bytes_of["ema"]
    assert memory["gradients"] == bytes_of["weight"] == 4 * found["parameters"]["trained"]
    assert memory["transformer"] == sum(value.nbytes for value in generator.transformer.parameters())


@pytest.mark.parametrize("checkpointing", [False, True])
def test_estimated_flops_are_those_of_a_step(checkpointing):
    values = TINY.to_json()
    values["train"] |= {"gradient_checkpointing": checkpointing}
    config = Config.model_validate(values)
    found = estimates.estimate(config, estimates.find_gpu("H100 80GB"))["flops"]
    generator = made()
    generator.transformer.train()
    if checkpointing:
        generator.transformer.enable_gradient_checkpointing()
    method, batch = teacher(generator), takes(1)
    method.tools.embed(batch.captions)  # kept, so that the text encoder's work is not counted
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        method.losses(batch, 0, torch.Generator())["generator"].value.backward()
    assert found["step_dense"] - found["encode"] == pytest.approx(counter.get_total_flops(), rel=0.01)
    assert found["step"] < found["step_dense"]


def test_the_released_model_is_known_without_its_weights():
    source = {"model": {"from": "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"}, "lora": {}}
    found = estimates.estimate(Config.model_validate(source), estimates.find_gpu("H100 80GB"))
    # The counts of the published weights; adapters of rank 128 on all Linears of the blocks.
    assert found["parameters"]["transformer"] == 1_418_996_800
    assert found["parameters"]["vae"] == 126_892_531
    assert found["parameters"]["trained"] == pytest.approx(175e6, rel=0.01)
    assert found["tokens"]["sequence"] == 2 * 21 * 1560
    assert found["activations_bytes"]["without_checkpointing"] > 10 * found["activations_bytes"]["with_checkpointing"]
    with pytest.raises(UsageError, match="there are: A100 40GB"):
        estimates.find_gpu("GeForce")
    unknown = Config.model_validate({"model": {"from": "some/where"}})
    with pytest.raises(UsageError, match="neither a folder nor known here"):
        estimates.estimate(unknown, estimates.find_gpu("H100 80GB"))


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
sys.path.insert(0, {root!r})
from pipelines.longtune.checkpoint import *
from pipelines.longtune.parallel import World, joined
from pipelines.longtune.weights import load_generator
from pipelines.longtune.losses import SampleLosses
from pipelines.longtune.trainee import Trainee
from tests.pipelines.test_longtune_running import TINY, made
run = Path({run!r})
run.mkdir()
torch.set_num_threads(1)
generator = made()
network = generator.transformer
def stamped(step):
    with torch.no_grad():
        for value in network.parameters():
            value.fill_(step)
def saving(begun, count):
    with joined("cpu") as world:
        for step in range(begun, begun + count):
            stamped(step)
            state = TrainState("transformer", 1, "d", step=step)
            save_checkpoint(run, TINY, world, generator, state, [trainee], None, SampleLosses())
trainee = Trainee("generator", network, 1e-3, TINY.train, None, World(0, 1, torch.device("cpu")))
draw = random.Random(0)
step = 0
for trial in range(5):
    child = os.fork()
    if not child:
        saving(step + 1, 1 if trial == 0 else 1000)
        os._exit(0)
    if trial:
        deadline = time.monotonic() + 30
        while read_state(find_checkpoint(run)).step == step:  # once it is at work
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.5))
        os.kill(child, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == (signal.SIGKILL if trial else 0)
    found = find_checkpoint(run)
    step = read_state(found).step
    assert found.name == f"step-{{step:06d}}", found
    stamped(-1)
    restore(found, 0, [trainee], None)
    assert all((value == step).all() for value in network.parameters()), step
assert all((value == step).all() for value in load_generator(found).transformer.parameters())
print("last step", step)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and kill -9")
def test_killed_at_any_moment_a_whole_checkpoint_is_found(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(root=str(ROOT), run=str(tmp_path / "run"))],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) > 3
