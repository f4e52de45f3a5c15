"""LongLive's streaming long tuning: the model goes on from its own long video, and a teacher judges each new clip.

No real video is needed, only prompts. Each step makes one new clip of a video that grows over the steps, and only the
clip has a graph; so a model is trained at any length in the memory of a short clip, on the past that it really has when
it is sampled. The clip is as long as the teacher knows. (Yang et al. 2025, LongLive; Self-Forcing's DMD.)

Ours: generator and critic learn from the same clip (LongLive makes one for each); the prompts of a switch are
neighbours in a take's own timeline; when the switch comes is drawn from the clips' starts, alike on every rank, since
the ranks of a sharded model must ask it equally often.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.longtune.methods.dmd import clip_velocity, draw_judged, judge
from pipelines.longtune.methods.flow import velocity_loss
from pipelines.longtune.methods.judges import load_judge
from pipelines.longtune.methods.method import LatentBatch, Loss, Method, Prompt, Tools, shared
from pipelines.longtune.methods.options import StreamingDmdOptions
from pipelines.longtune.methods.rollout import Rollout
from pipelines.longtune.noise import noised, schedule
from pipelines.longtune.stream import CausalStream
from pipelines.longtune.vae import StreamingDecoder, encode

_LEAD = 3  # latents decoded before the one whose picture is wanted: the first of a decoding is taken for an image


class StreamingDmd(Method):
    """The critic learns at every step what the clips look like, the generator at some to make likelier ones."""

    def __init__(self, tools: Tools, options: StreamingDmdOptions) -> None:
        super().__init__(tools)
        self._options = options
        self._teacher = load_judge(options.teacher, tools.generator, "method.teacher").eval().requires_grad_(False)
        self._critic = load_judge(options.critic or options.teacher, tools.generator, "method.critic")
        self._levels = schedule(options.steps, tools.shift)[:-1].tolist()
        self._overlap = options.clip - options.fresh
        # Once and for all: what comes with the shards may round otherwise.
        self._negative = tools.embed([options.negative])
        self._rollout: Rollout | None = None

    @property
    def networks(self) -> dict[str, nn.Module]:
        return {"generator": self.tools.generator, "critic": self._critic}

    @property
    def frozen(self) -> dict[str, nn.Module]:
        return {"teacher": self._teacher}

    def losses(self, batch: LatentBatch, step: int, rng: torch.Generator) -> dict[str, Loss]:
        options, alike = self._options, shared(self.tools.seed, step)
        # The choices that all ranks make alike; each step draws them all, so that they do not depend on the stream.
        last = int(torch.randint(options.steps, (1,), generator=alike))
        switches = bool(torch.rand(1, generator=alike) < options.switch)
        starts = range(options.clip, options.max_frames, options.fresh)
        chosen = int(torch.randint(max(1, len(starts)), (1,), generator=alike))
        switch_at = starts[chosen] if starts and switches else options.max_frames
        if self._rollout is None or self._rollout.stream.frame + options.fresh > options.max_frames:
            self._rollout = self._begun(batch, switch_at, rng)
        rollout = self._rollout

        learns = step % options.critic_per_generator == 0
        begins = not rollout.recent.shape[2]
        new = options.clip if begins else options.fresh
        recent = rollout.recent
        past = recent[:, :, recent.shape[2] - (options.clip - new) :]
        made = rollout.extend(new // self.tools.layout.block, self._levels, last, graph=learns)
        rollout.remember(made, self._overlap + _LEAD)
        if options.reencode and past.shape[2]:
            past = torch.cat([self._as_image(recent, past.shape[2]), past[:, :, 1:]], dim=2)
        clip = torch.cat([past, made], dim=2)
        scored = torch.zeros(len(clip), options.clip, dtype=torch.bool, device=clip.device)
        scored[:, options.clip - new :] = rollout.counts[:, None]

        text = rollout.stream.text
        facts = {"frame": float(rollout.stream.frame), "exit": float(last)}
        # No loss is told by sample: the videos are those of an earlier batch.
        losses = {"critic": Loss(self._critic_loss(clip.detach(), scored, text, rng).value)}
        if learns:
            loss = judge(
                clip,
                scored,
                critic=self._critic,
                teacher=self._teacher,
                text=text,
                negative=self._negative.expand_as(text),
                guidance=options.guidance,
                level=self._draw_level(len(clip), rng),
                noise=torch.randn(clip.shape, generator=rng).to(clip),
            )
            losses["generator"] = Loss(loss.value, facts={**facts, **loss.facts})
        return losses

    def state_dict(self) -> dict[str, Any]:
        return {} if self._rollout is None else self._rollout.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._rollout = None if not state else Rollout.restored(state, self._stream(state["following"]))

    def _begun(self, batch: LatentBatch, switch_at: int, rng: torch.Generator) -> Rollout:
        """New videos of the batch's prompts; nothing of the batch's latents but their size is used."""
        pairs = [_neighbours(timeline, rng) for timeline in batch.timelines]
        size, channels, _, height, width = batch.latents.shape
        stream = self._stream(self.tools.embed([first for first, _ in pairs]))
        stream.rng.manual_seed(int(torch.randint(2**62, (1,), generator=rng)))
        return Rollout(
            stream,
            self.tools.embed([second for _, second in pairs]),
            switch_at,
            False,
            batch.target.any(dim=1),
            (size, channels, self.tools.layout.block, height, width),
            batch.latents[:, :, :0],
        )

    def _stream(self, text: Tensor) -> CausalStream:
        return CausalStream(self.tools.generator, text.to(self.tools.device), self.tools.layout)

    def _critic_loss(self, clip: Tensor, scored: Tensor, text: Tensor, rng: torch.Generator) -> Loss:
        """Flow matching on the generator's clips."""
        level, noise = self._draw_level(len(clip), rng), torch.randn(clip.shape, generator=rng).to(clip)
        velocity = clip_velocity(self._critic, noised(clip, noise, level), level, text)
        return velocity_loss(velocity, noise - clip, scored)

    def _draw_level(self, size: int, rng: torch.Generator) -> Tensor:
        options = self._options
        return draw_judged(size, self.tools.shift, options.least_level, options.most_level, rng).to(self.tools.device)

    @torch.no_grad()
    def _as_image(self, recent: Tensor, overlap: int) -> Tensor:
        """The first overlapping latent as the image latent that a clip begins with: decoded, and its last picture
        encoded alone. (As LongLive does at each step.)"""
        upto = recent.shape[2] - overlap + 1
        picture = StreamingDecoder(self.tools.vae).decode(recent[:, :, :upto])[:, :, -1:]
        return encode(self.tools.vae, picture).to(recent)


def _neighbours(timeline: Sequence[Prompt], rng: torch.Generator) -> tuple[str, str]:
    """Two prompts that follow each other in a take; one prompt follows itself."""
    start = int(torch.randint(max(1, len(timeline) - 1), (1,), generator=rng))
    return timeline[start].text, timeline[min(start + 1, len(timeline) - 1)].text
