"""The training run, from shards to checkpoint, sample and summary; started again, it goes on where it was stopped.

Two stages of one loop: "vae" (only for a tiny model, whose VAE has no released weights) and "transformer". All that a
step depends on is in the checkpoint, so a killed run repeats the very steps it lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from pipelines.longtune.adapters import add_adapters
from pipelines.longtune.board import Board
from pipelines.longtune.checkpoint import (
    TrainState,
    check_same_work,
    find_checkpoint,
    read_losses,
    read_state,
    restore,
    save_checkpoint,
)
from pipelines.longtune.config import Config
from pipelines.longtune.data.index import Index, build_index
from pipelines.longtune.data.loader import Batch
from pipelines.longtune.data.shards import list_shards
from pipelines.longtune.errors import TuneError
from pipelines.longtune.feed import Feed
from pipelines.longtune.loop import Loop, Stage
from pipelines.longtune.losses import SampleLosses
from pipelines.longtune.methods import make_method
from pipelines.longtune.methods.method import LatentBatch, Loss, Method, Tools
from pipelines.longtune.methods.reconstruction import reconstruction_loss
from pipelines.longtune.parallel import World, joined
from pipelines.longtune.progress import Reporter
from pipelines.longtune.runfolder import RunFolder
from pipelines.longtune.samples import make_sample
from pipelines.longtune.trainee import Trainee
from pipelines.longtune.vae import encode, measure_scale, to_pixels
from pipelines.longtune.weights import Generator, load_vae, make_generator

STAGES = ("vae", "transformer")
_SCALE_BATCHES = 8  # enough latents (tens of thousands) for a mean and deviation of each channel


def train_run(config: Config, shards: Path, out: Path, report: Reporter) -> dict[str, Any]:
    """Train to the end, or say that it was done before. To be called on every rank that torchrun started.

    Returns the summary; raises `TuneError`.
    """
    paths = list_shards(shards)
    with joined(config.train.device) as world, _opened(out, config, world) as folder:
        report.muted = not world.first
        done = world.on_first(folder.summary)
        if done is not None:
            report.say(f"{out}: already done; give another -o to train again")
            return {**done, "already_done": True}
        with ExitStack() as closing:
            index = world.on_first(lambda: build_index(paths, folder.path / "index.json"))
            run = _Run(config, index, folder, world, report, closing)
            if config.train.vae_steps:
                run.train_vae()
            run.train_transformer()
            return run.finish()


@contextmanager
def _opened(out: Path, config: Config, world: World) -> Iterator[RunFolder]:
    """The run's folder, whose lock rank 0 holds; if it cannot, all ranks fail."""
    with ExitStack() as stack:
        world.on_first(lambda: stack.enter_context(RunFolder.opened(out, config)) and None)
        yield RunFolder(out)


class _Run:
    def __init__(
        self,
        config: Config,
        index: Index,
        folder: RunFolder,
        world: World,
        report: Reporter,
        closing: ExitStack,
    ) -> None:
        self.config, self.folder, self.world, self.report = config, folder, world, report
        if world.device.type == "cpu":
            # A core for each decoding process: OpenMP's threads wait by spinning, and would starve it and themselves.
            torch.set_num_threads(max(1, torch.get_num_threads() - config.data.num_workers))
        self.checkpoint = world.on_first(lambda: find_checkpoint(folder.path))
        if self.checkpoint is None:
            self.state = TrainState("vae" if config.train.vae_steps else "transformer", len(index.shards), index.digest)
            self.losses = SampleLosses()
            where = f"{world.device.type}, {world.size} ranks" if world.size > 1 else world.device.type
            held = f"{len(index.takes)} takes in {len(index.shards)} shards"
            report.say(f"{held}; training on {where} from the start")
        else:
            self.state, self.losses = read_state(self.checkpoint), read_losses(self.checkpoint)
            check_same_work(self.checkpoint, self.state, config, index)
            report.say(f"resuming {folder.path} after {self.state.stage} step {self.state.step}")
        self.generator, self.method = self._networks()
        if world.first:
            folder.rewind(self._is_before)
        self.board = closing.enter_context(Board(folder.path, self._steps_done)) if world.first else None
        feed = Feed(index, config, world, self.state, report)
        self.feed, self.loop = feed, Loop(config.train, world, feed, self.state, self.losses)

    def train_vae(self) -> None:
        """Reconstruction steps, then the latents' scale; a no-op if that is behind us."""
        if self.state.stage != "vae":
            return
        train, vae = self.config.train, self.generator.vae.train().requires_grad_(True)
        trainee = Trainee("vae", vae, train.vae_lr, train, None, self.world)
        self._steps(Stage("vae", train.vae_steps, {"vae": trainee}, "vae", self._reconstruct))
        vae.eval().requires_grad_(False)
        measure_scale(vae, (to_pixels(self._all_rows()) for _ in range(_SCALE_BATCHES)))
        self.state.stage, self.state.step = "transformer", 0
        self._save([])

    def train_transformer(self) -> None:
        """The method's steps."""
        train = self.config.train
        trainees = [
            Trainee(name, network, train.lr, train, self.config.ema, self.world)
            if name == "generator"
            else Trainee(name, network, train.critic_lr or train.lr / 5, train, None, self.world)
            for name, network in self.method.networks.items()
        ]
        by_name = {trainee.name: trainee for trainee in trainees}
        self.average = by_name["generator"].ema
        self.generator.transformer.train()
        stage = Stage("transformer", train.steps, by_name, "generator", self._method_losses)
        self._steps(stage, self.method)

    def finish(self) -> dict[str, Any]:
        """Make the sample, and sum the run up."""
        made = self._sample()
        summary = self.world.on_first(lambda: self._summary(made))
        if self.world.first:
            self.folder.finish(summary)
        self.world.wait()
        return summary

    def _networks(self) -> tuple[Generator, Method]:
        """The networks as they were before the first step, but for a VAE that is trained already; sharded."""
        config, world = self.config, self.world
        torch.manual_seed(config.train.seed)
        generator = make_generator(config.model)
        if self.checkpoint is not None and self.state.stage == "transformer":
            generator.vae = load_vae(self.checkpoint)
        torch.manual_seed(config.train.seed)
        if config.lora is not None:
            add_adapters(generator.transformer, config.lora)
        generator.to(world.device)
        # UMT5-XXL in float32 is 23 GB, which a GPU has better use for; embeddings that come with the shards need none.
        generator.text_encoder.to("cpu")
        self.embed = generator.embedder(config.model.text_tokens, world.device)
        tools = Tools(
            generator.transformer,
            generator.vae,
            self.embed,
            config.causal,
            config.data.latents,
            config.train.flow_shift,
            world.device,
            config.train.seed,
        )
        method = make_method(config.method, tools)
        network: Any
        for network in method.networks.values():
            if config.train.gradient_checkpointing:
                network.enable_gradient_checkpointing()
            world.shard(network)
        for network in method.frozen.values():
            world.shard(network)
        return generator, method

    def _steps(self, stage: Stage, method: Method | None = None) -> None:
        trainees = list(stage.trainees.values())
        train, sample = self.config.train, self.config.sample
        # At the start of a stage its optimisers are fresh: the checkpoint, if any, is of the stage before.
        if self.checkpoint is not None and self.state.step:
            restore(self.checkpoint, self.world.rank, trainees, method)
        for row in self.loop.steps(stage):
            done = self.state.step
            if self.world.first:
                self.folder.log(row)
            if self.board is not None:
                self.board.row(row, self._steps_done)
            self.report.step(row, stage.steps)
            if done % train.checkpoint_every == 0 or done == stage.steps:
                self._save(trainees, method)
            if method is not None and sample.every and done % sample.every == 0 and done < stage.steps:
                self._sample()

    def _reconstruct(self, batch: Batch, step: int, rng: torch.Generator) -> dict[str, Loss]:
        return {"vae": Loss(reconstruction_loss(self.generator.vae, to_pixels(self._video(batch)), rng))}

    def _method_losses(self, batch: Batch, step: int, rng: torch.Generator) -> dict[str, Loss]:
        latents = batch.latents
        if latents is None:
            with torch.autocast(self.world.device.type, enabled=False):  # Wan's VAE is used in float32
                latents = encode(self.generator.vae, to_pixels(self._video(batch)))
        device = self.world.device
        self.embed.remember(batch.text)
        takes = LatentBatch(
            latents.to(device),
            batch.frames.to(device),
            batch.target.to(device),
            batch.captions,
            batch.timelines,
            batch.keys,
        )
        return self.method.losses(takes, step, rng)

    def _all_rows(self) -> torch.Tensor:
        """The next batch of all ranks: what is measured on it is the same on each, and on one."""
        shares = self.world.gather(self._video(self.feed.next()).cpu())
        return torch.cat(shares).to(self.world.device)

    def _video(self, batch: Batch) -> torch.Tensor:
        if batch.video is None:
            raise TuneError("the VAE is trained on video, and these batches hold latents; set data.input: video")
        return batch.video.to(self.world.device)

    def _sample(self) -> dict[str, Any]:
        sample, step = self.config.sample, self.state.step
        self.report.say(f"sampling {sample.seconds:g} s: {sample.prompt}")
        path = self.folder.path / "samples" / f"step-{step:06d}.mp4"
        made = make_sample(self.generator, self.config, self.world, self.average, path)
        if self.board is not None:
            self.board.video(path, self._steps_done)
        return made

    def _save(self, trainees: Sequence[Trainee], method: Method | None = None) -> None:
        self.loop.settle()
        self.checkpoint = save_checkpoint(
            self.folder.path, self.config, self.world, self.generator, self.state, trainees, method, self.losses
        )
        if self.world.first:
            self.losses.write(self.folder.losses)

    @property
    def _steps_done(self) -> int:
        """Over both stages."""
        return self.state.step + (self.config.train.vae_steps if self.state.stage == "transformer" else 0)

    def _is_before(self, row: dict[str, Any]) -> bool:
        return (STAGES.index(row["stage"]), row["step"]) <= (STAGES.index(self.state.stage), self.state.step)

    def _summary(self, made: dict[str, Any]) -> dict[str, Any]:
        return self.folder.summarised(self.state.skipped, self.state.nan_steps) | {
            "checkpoint": str(self.checkpoint),
            "sample": made,
        }
