"""What can be set about each training method. No torch here: a config is read and checked before torch is loaded.

`method: {name: …}` in a run's YAML names one of these; `methods/<name>.py` is the method itself.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Probability = Annotated[float, Field(ge=0, le=1)]


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Method(_Options):
    """What a sampler has to know of the method, too."""

    @property
    def context_timestep(self) -> float:
        """The timestep at which a finished block is put into a stream's memory: how context looked in training."""
        return 0.0

    def check(self, config: Any) -> None:
        """Raise ValueError if the method cannot work with the other sections of its `Config`."""


class RecyclingOptions(_Options):
    """Error recycling: the model's own mistakes, put into what it sees (Stable Video Infinity; LongLive 2.0).

    The probabilities are LongLive 2.0's. What is kept is bounded by `megabytes`, whatever the clips' size.
    """

    context: Probability = Field(default=0.9, description="Chance that a block of the clean past carries a mistake.")
    latent: Probability = Field(
        default=0.9, description="Chance that a block's clean latents do, before they are noised."
    )
    noise: Probability = Field(default=0.01, description="Chance that a block's noise does.")
    clean: Probability = Field(
        default=0.2, description="Chance that a take is left as it is, so that clean is not unlearnt."
    )
    scale: float = Field(default=0.3, ge=0, le=2, description="What a mistake is multiplied by.")
    warm_up: int = Field(default=50, ge=0, description="Steps that only collect: the first mistakes are not typical.")
    buckets: int = Field(default=50, ge=1, le=1000, description="Ranges of timesteps that mistakes are kept apart by.")
    size: int = Field(
        default=500, ge=1, description="Mistakes (one a block) in a bucket at most; the oldest goes first."
    )
    megabytes: int = Field(
        default=1024, ge=1, description="Memory for all mistakes, on the CPU; ours: 50 x 500 blocks of 480p are 15 GB."
    )


class TeacherForcingOptions(_Method):
    """Flow matching on real takes, every block beside the clean video before it."""

    name: Literal["teacher_forcing"] = "teacher_forcing"
    weight: Literal["uniform", "bell"] = Field(
        default="uniform",
        description="What noise levels count: alike, or the middle most (Self-Forcing family, LongLive 2.0). "
        "Alike by default: losses can then be compared between runs.",
    )
    recycling: RecyclingOptions | None = Field(
        default=None, description="Error recycling; `{}` takes LongLive 2.0's values. Off by default: it costs memory."
    )


class DiffusionForcingOptions(_Method):
    """Flow matching on real takes that are noised throughout, every block to a level of its own."""

    name: Literal["diffusion_forcing"] = "diffusion_forcing"
    per_frame: bool = Field(
        default=False,
        description="A level of its own for each frame, as in the paper; by block as in CausVid, since a block is "
        "sampled at one level.",
    )
    context_noise: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Level to which a finished block is noised when it is remembered in sampling; 0 keeps it clean. "
        "The paper steadies long roll-outs by a small one, which hides a block's own faults; none is tuned here.",
    )

    @property
    def context_timestep(self) -> float:
        """Of the small level at which context is kept."""
        return self.context_noise * 1000


class FarOptions(_Method):
    """FAR: diffusion forcing with some frames clean, and coarse patches for the far past."""

    name: Literal["far"] = "far"
    clean: Probability = Field(default=0.1, description="Chance that a block is given clean and not scored; FAR's 0.1.")
    long_context: bool = Field(
        default=True, description="Show the frames before causal.window as coarse patches; off: they are not seen."
    )
    levels: Literal["shifted", "logit_normal"] = Field(
        default="shifted",
        description="How noise levels are drawn: as everywhere in this trainer (AnyFlow-FAR on Wan), or FAR's own from "
        "scratch.",
    )

    @property
    def context_timestep(self) -> float:
        """FAR's marker of a clean frame."""
        return -1.0

    def check(self, config: Any) -> None:
        """The short window is causal.window: whole blocks, and something before it."""
        causal, latents = config.causal, config.data.latents
        if causal.window % causal.block or causal.window < 2 * causal.block or causal.sink:
            raise ValueError(
                f"method far: causal.window is the short window, of two blocks or more, whole ones, and causal.sink is "
                f"0; they are {causal.window} (blocks of {causal.block}) and {causal.sink}. AnyFlow-FAR's: block 3, "
                "window 9, sink 0"
            )
        if self.long_context and causal.window >= latents:
            raise ValueError(
                f"data.frames gives {latents} latents, which leaves no far past before causal.window "
                f"({causal.window}); raise data.frames, lower causal.window, or set method.long_context: false"
            )


class RandomMasksOptions(_Method):
    """SEINE: random frames are given, the others are made from them."""

    name: Literal["random_masks"] = "random_masks"
    prediction: float = Field(default=1.0, ge=0, description="Weight of: the first frames are given.")
    transition: float = Field(default=1.0, ge=0, description="Weight of: the first and the last frames are given.")
    interpolation: float = Field(default=1.0, ge=0, description="Weight of: frames here and there are given.")
    nothing: float = Field(default=1.0, ge=0, description="Weight of: no frame is given. Equal weights: not tuned.")
    most: float = Field(default=0.5, gt=0, lt=1, description="Largest share of frames given; ours: half is to be made.")
    attention: Literal["bidirectional", "block_causal"] = Field(
        default="bidirectional",
        description="Who sees whom: all see all (SEINE; a transition needs its end from the start), or each sees the "
        "given frames and the past, so that the weights can still stream.",
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.prediction + self.transition + self.interpolation + self.nothing:
            raise ValueError("give at least one of prediction, transition, interpolation and nothing a weight above 0")
        return self


class StreamingDmdOptions(_Method):
    """LongLive's streaming long tuning: the model goes on from its own video, a teacher judges each new clip."""

    name: Literal["streaming_dmd"] = "streaming_dmd"
    teacher: str = Field(
        description="Folder or hub id of the teacher, in diffusers' layout; Wan2.1-T2V-14B in LongLive."
    )
    critic: str | None = Field(
        default=None, description="What the critic starts from; by default the teacher. Wan2.1-T2V-1.3B in LongLive."
    )
    clip: int = Field(default=21, ge=1, description="Latent frames that are judged: what the teacher was trained on.")
    fresh: int = Field(default=18, ge=1, description="Of these, new ones; the others are context (LongLive: 18 of 21).")
    max_frames: int = Field(default=240, ge=1, description="Latent frames after which a video starts anew; 60 s.")
    steps: int = Field(default=4, ge=1, le=50, description="Denoising steps of a block: 1000, 750, 500, 250, shifted.")
    guidance: float = Field(
        default=3.0, ge=0, description="The teacher's estimate: told + guidance * (told - untold); LongLive's 3."
    )
    negative: str = Field(
        default="", description="Prompt that the teacher's guidance leads away from; Wan has its own."
    )
    critic_per_generator: int = Field(default=5, ge=1, description="Steps of the critic for each of the generator.")
    switch: Probability = Field(
        default=1.0, description="Chance that a video goes over to the next prompt, once; LongLive's always do."
    )
    reencode: bool = Field(
        default=True,
        description="Encode a later clip's first latent anew from its picture: the teacher expects an image there.",
    )
    least_level: float = Field(default=0.02, ge=0, lt=1, description="Lowest noise level judged at; DMD's 20 of 1000.")
    most_level: float = Field(default=0.98, gt=0, le=1, description="Highest; DMD's 980 of 1000.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.fresh > self.clip:
            raise ValueError(f"fresh ({self.fresh}) must be at most clip ({self.clip})")
        if self.max_frames < self.clip:
            raise ValueError(f"max_frames ({self.max_frames}) must be at least clip ({self.clip})")
        if self.least_level >= self.most_level:
            raise ValueError(f"least_level ({self.least_level}) must be below most_level ({self.most_level})")
        return self

    def check(self, config: Any) -> None:
        """A clip and its new frames are whole blocks; the generator is sampled as it is trained; one stream a rank."""
        block, sample = config.causal.block, config.sample
        for name in ("clip", "fresh"):
            if getattr(self, name) % block:
                raise ValueError(f"method.{name} ({getattr(self, name)}) must be a multiple of causal.block ({block})")
        if sample.solver != "renoise" or sample.steps != self.steps or sample.guidance != 1:
            raise ValueError(
                "method streaming_dmd trains a generator of few steps, which is sampled as it was trained: set "
                f"sample.solver: renoise, sample.steps: {self.steps} and sample.guidance: 1"
            )
        if config.train.micro_batch:
            raise ValueError(
                "method streaming_dmd goes on from its own video, one batch at a time: no train.micro_batch"
            )


class RollingForcingOptions(_Method):
    """Rolling Forcing's window: blocks at rising noise levels are denoised together."""

    name: Literal["rolling_forcing"] = "rolling_forcing"
    blocks: int = Field(default=5, ge=2, le=64, description="Blocks in a rolling window; the paper's 5.")

    def check(self, config: Any) -> None:
        """Each rung of the window takes equally many of the sampler's steps."""
        steps, guess = config.sample.steps, -(-config.sample.steps // self.blocks) * self.blocks
        if steps % self.blocks:
            raise ValueError(
                f"sample.steps ({steps}) must be a multiple of method.blocks ({self.blocks}), for instance {guess}"
            )


class TempLoraOptions(_Options):
    """SlowFast-VGen's temporal LoRA: at test time, each finished window is learnt before the next is made.

    Trains nothing in a run; `sample.temp_lora` switches it on. No value is tuned.
    """

    rank: int = Field(default=16, ge=1, le=1024, description="Rank, and alpha, of the adapter.")
    lr: float = Field(default=1e-4, gt=0, description="AdamW's learning rate at test time.")
    steps: int = Field(default=4, ge=1, le=1000, description="Gradient steps a window.")
    blocks: int = Field(default=4, ge=2, description="Blocks in a window; learnt whenever so many new ones are made.")


MethodOptions = Annotated[
    TeacherForcingOptions
    | DiffusionForcingOptions
    | FarOptions
    | RandomMasksOptions
    | StreamingDmdOptions
    | RollingForcingOptions,
    Field(discriminator="name"),
]

METHODS: dict[str, type[_Method]] = {
    options.model_fields["name"].default: options
    for options in (
        TeacherForcingOptions,
        DiffusionForcingOptions,
        FarOptions,
        RandomMasksOptions,
        StreamingDmdOptions,
        RollingForcingOptions,
    )
}
