"""The training run, from shards to checkpoint, sample and summary; started again, it goes on where it was stopped.

Two stages, each a plain loop: "vae" (only for a tiny model, whose VAE has no released weights) and "transformer".
All that a step depends on is in the checkpoint, so a killed run repeats the very steps it lost.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.longtune.checkpoint import TrainState, find_checkpoint, read_state, restore, save_checkpoint
from pipelines.longtune.config import Config
from pipelines.longtune.data.loader import Batch, open_batches
from pipelines.longtune.data.shards import list_shards
from pipelines.longtune.errors import TuneError, UsageError
from pipelines.longtune.generate import generate_video
from pipelines.longtune.methods.method import LatentBatch, Method, Prompt, Tools
from pipelines.longtune.methods.reconstruction import reconstruction_loss
from pipelines.longtune.methods.teacher_forcing import TeacherForcing
from pipelines.longtune.progress import Reporter
from pipelines.longtune.runfolder import RunFolder
from pipelines.longtune.vae import encode, measure_scale, to_pixels
from pipelines.longtune.weights import load_generator, make_generator

STAGES = ("vae", "transformer")
_SCALE_BATCHES = 8  # enough latents (tens of thousands) for a mean and deviation of each channel
_ENDS = 10  # steps that the first and the last loss of the summary are a mean of


def train_run(config: Config, shards: Path, out: Path, report: Reporter) -> dict[str, Any]:
    """Train to the end, or say that it was done before. Returns the summary; raises `TuneError`."""
    paths = list_shards(shards)
    with RunFolder.opened(out, config) as folder:
        done = folder.summary()
        if done is not None:
            report.say(f"{out}: already done; give another -o to train again")
            return {**done, "already_done": True}
        run = _Run(config, paths, folder, report)
        if config.train.vae_steps:
            run.train_vae()
        run.train_transformer()
        summary = run.finish()
        folder.finish(summary)
        return summary


def pick_device(name: str) -> torch.device:
    """`auto` is a GPU where there is one. Raises `UsageError` if cuda is wanted and missing."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("train.device is cuda, but torch sees no GPU; set it to auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


class _Run:
    def __init__(self, config: Config, shards: list[Path], folder: RunFolder, report: Reporter) -> None:
        self.config, self.folder, self.report = config, folder, report
        self.device = pick_device(config.train.device)
        if self.device.type == "cpu":
            # A core for each decoding process: OpenMP's threads wait by spinning, and would starve it and themselves.
            torch.set_num_threads(max(1, torch.get_num_threads() - min(config.data.num_workers, len(shards))))
        self.rng = torch.Generator().manual_seed(config.train.seed)
        content = [(path.name, path.stat().st_size) for path in shards]
        self.checkpoint = find_checkpoint(folder.path)
        if self.checkpoint is None:
            torch.manual_seed(config.train.seed)
            self.state = TrainState("vae" if config.train.vae_steps else "transformer", config.digest, content)
            self.generator = make_generator(config.model).to(self.device)
            report.say(f"{len(shards)} shards; training on {self.device} from the start")
        else:
            self.state = read_state(self.checkpoint)
            self._check_same_work(content)
            self.generator = load_generator(self.checkpoint).to(self.device)
            report.say(f"resuming {folder.path} after {self.state.stage} step {self.state.step}")
        folder.rewind(self._is_before)
        self.method: Method = TeacherForcing(
            Tools(
                self.generator.transformer,
                self.generator.vae,
                self.generator.embedder(config.model.text_tokens),
                config.causal,
                config.data.latents,
                config.train.flow_shift,
                self.device,
            ),
            config.method,
        )
        self.batches = self._batches(shards)

    def train_vae(self) -> None:
        """Reconstruction steps, then the latents' scale; a no-op if that is behind us."""
        if self.state.stage != "vae":
            return
        vae = self.generator.vae.train().requires_grad_(True)
        self._steps("vae", vae, self.config.train.vae_steps, self.config.train.vae_lr, self._reconstruct)
        vae.eval().requires_grad_(False)
        measure_scale(vae, (self._pixels(next(self.batches)) for _ in range(_SCALE_BATCHES)))
        self.state.stage, self.state.step = "transformer", 0
        self._save(changed="vae")

    def train_transformer(self) -> None:
        """Teacher-forcing steps."""
        train = self.config.train
        self._steps("transformer", self.generator.transformer.train(), train.steps, train.lr, self._teacher_force)

    def finish(self) -> dict[str, Any]:
        """Make the sample, and sum the run up."""
        sample = self.config.sample
        path = self.folder.path / "samples" / f"step-{self.state.step:06d}.mp4"
        self.report.say(f"sampling {sample.seconds:g} s: {sample.prompt}")
        made = generate_video(self.generator, self.config, sample.prompt, sample.seconds, sample.seed, path)
        vae = [row for row in self.folder.rows() if row["stage"] == "vae"]
        rows = [row for row in self.folder.rows() if row["stage"] == "transformer"]
        seconds = sum(row["seconds"] for row in rows)
        skipped = self.state.skipped
        return {
            "run": str(self.folder.path),
            "checkpoint": str(self.checkpoint),
            "sample": made,
            "steps": len(rows),
            "first_loss": _mean(rows[:_ENDS], "loss"),
            "last_loss": _mean(rows[-_ENDS:], "loss"),
            "vae_first_loss": _mean(vae[:_ENDS], "loss") if vae else None,
            "vae_last_loss": _mean(vae[-_ENDS:], "loss") if vae else None,
            "seconds": round(sum(row["seconds"] for row in vae + rows), 2),
            "frames_per_s": round(sum(row["frames"] for row in rows) / seconds, 1),
            "data_wait": round(sum(row["data_wait"] * row["seconds"] for row in rows) / seconds, 3),
            "short_takes": len(skipped["short"]),
            "bad_takes": [{"name": name, "reason": reason} for name, reason in sorted(skipped["bad"].items())],
        }

    def _steps(self, stage: str, module: nn.Module, steps: int, lr: float, loss_of: Callable[[Batch], Tensor]) -> None:
        train = self.config.train
        optimizer = torch.optim.AdamW(module.parameters(), lr=lr, weight_decay=train.weight_decay)
        if self.checkpoint is not None:
            restore(self.checkpoint, self.rng, (module, optimizer))
        while self.state.step < steps:
            started = time.perf_counter()
            batch = next(self.batches)
            waited = time.perf_counter() - started
            loss = loss_of(batch)
            if not math.isfinite(loss.item()):
                raise TuneError(
                    f"{stage} step {self.state.step + 1}: the loss is {loss.item()}; lower the learning rate"
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), train.grad_clip)
            optimizer.step()
            self.state.step += 1
            seconds = time.perf_counter() - started
            frames = len(batch.names) * self.config.data.frames
            row = {
                "stage": stage,
                "step": self.state.step,
                "loss": loss.item(),
                "seconds": round(seconds, 4),
                "frames": frames,
                "frames_per_s": round(frames / seconds, 2),
                "data_wait": round(waited / seconds, 4),
            }
            self.folder.log(row)
            self.report.step(row, steps)
            if self.state.step % train.checkpoint_every == 0 or self.state.step == steps:
                self._save(changed=stage, trained=(module, optimizer))

    def _reconstruct(self, batch: Batch) -> Tensor:
        return reconstruction_loss(self.generator.vae, self._pixels(batch), self.rng)

    def _teacher_force(self, batch: Batch) -> Tensor:
        latents = encode(self.generator.vae, self._pixels(batch))
        frames = torch.arange(latents.shape[2], device=self.device)
        target = torch.ones(len(latents), len(frames), dtype=torch.bool, device=self.device)
        timelines = [[Prompt(0, caption)] for caption in batch.captions]
        takes = LatentBatch(latents, frames, target, batch.captions, timelines, batch.names)
        return self.method.losses(takes, self.state.step, self.rng)["generator"].value

    def _pixels(self, batch: Batch) -> Tensor:
        if batch.video is None:
            raise TuneError("a batch without windows reached the model")
        return to_pixels(batch.video.to(self.device))

    def _save(self, changed: str, trained: tuple[nn.Module, torch.optim.Optimizer] | None = None) -> None:
        self.checkpoint = save_checkpoint(
            self.folder.path, self.generator, self.config, self.state, self.rng, changed, trained
        )

    def _batches(self, shards: list[Path]) -> Iterator[Batch]:
        """Batches with windows; on the way, notes what was skipped and moves the place on."""
        data = self.config.data
        stream = open_batches(shards, data, self.config.train.seed, self.state.place)
        while True:
            try:
                batch = next(stream, None)
            except RuntimeError as error:
                raise TuneError(f"a decoding process died ({error}); data.num_workers: 0 shows where") from error
            if batch is None:
                raise TuneError(self._nothing_to_train_on())
            for note in batch.notes:
                if note.kind == "bad" and data.on_bad_sample == "error":
                    raise TuneError(f"{note.name}: {note.reason}; repair it, or set data.on_bad_sample: skip")
                if note.kind == "bad" and note.name not in self.state.skipped["bad"]:
                    self.report.say(f"skipped {note.name}: {note.reason}")
                self.state.skipped[note.kind][note.name] = note.reason
            if batch.video is not None:
                self.state.place = self.state.place.after(batch)
                yield batch

    def _nothing_to_train_on(self) -> str:
        short, bad = self.state.skipped["short"], self.state.skipped["bad"]
        data = self.config.data
        parts = [f"no take is as long as a window ({data.window_s:.2f} s: {data.frames} frames at {data.fps:g} fps)"]
        if short:
            longest = max(short.values(), key=lambda reason: float(reason.split()[0]))
            parts.append(f"{len(short)} are shorter, the longest {longest}; lower data.frames")
        if bad:
            name, reason = next(iter(bad.items()))
            parts.append(f"{len(bad)} are bad, the first {name}: {reason}")
        return "; ".join(parts)

    def _check_same_work(self, content: list[tuple[str, int]]) -> None:
        if self.state.config_hash != self.config.digest:
            raise UsageError(f"{self.checkpoint}: is of another config; give another -o")
        if self.state.shards != content:
            raise UsageError(
                f"{self.checkpoint}: is of other shards ({len(self.state.shards)} then, {len(content)} now, or of "
                "another size); give the same --shards to resume, or another -o"
            )

    def _is_before(self, row: dict[str, Any]) -> bool:
        return (STAGES.index(row["stage"]), row["step"]) <= (
            STAGES.index(self.state.stage),
            self.state.step if self.checkpoint else 0,
        )


def _mean(rows: list[dict[str, Any]], key: str) -> float:
    return round(sum(row[key] for row in rows) / len(rows), 4)
