"""A clip that goes on from a picture or video, leads to another, or both: what `random_masks` has learnt (SEINE).

The given ends are encoded and stand in the clip as clean frames; the others are made beside them, all at once. So the
clip is one training window long: to go on for longer, a generator is streamed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
import av.container
import numpy as np
import torch

from pipelines.longtune.config import Config
from pipelines.longtune.config_data import FRAMES_PER_LATENT
from pipelines.longtune.errors import UsageError
from pipelines.longtune.methods.options import RandomMasksOptions
from pipelines.longtune.methods.random_masks import fill
from pipelines.longtune.vae import StreamingDecoder, encode, to_bytes, to_pixels
from pipelines.longtune.video import VideoWriter
from pipelines.longtune.weights import Generator
from stages.latents.pictures import MOST_PIXELS, fit, sampled

# Neither a playlist nor a reference inside a file may make us open another.
_SAFE = {"protocol_whitelist": "none", "enable_drefs": "0", "use_absolute_path": "0"}


@torch.no_grad()
def make_between(
    generator: Generator, config: Config, prompt: str, after: Path | None, before: Path | None, seed: int, path: Path
) -> dict[str, Any]:
    """Write a clip of `data.frames` frames to `path`.

    Args:
        generator: the networks.
        config: the run they come from.
        prompt: what to show.
        after: a picture or video; the clip begins with its last frames.
        before: a picture or video; the clip ends with its first frames.
        seed: of the noise.
        path: an .mp4.

    Raises:
        UsageError: the run was trained by another method, no end is given, or one cannot be read.

    Returns:
        What was made: path, frames, seconds, fps, took_s, given: frames that are given at the start and at the end.
    """
    started = time.perf_counter()
    data, method = config.data, config.method
    if not isinstance(method, RandomMasksOptions):
        raise UsageError(
            f"this run was trained by {method.name}; what comes after or before given frames is made by random_masks"
        )
    if after is None and before is None:
        raise UsageError("give what the clip goes on from (--after), what it leads to (--before), or both")
    limit = max(1 if after is None or before is None else 2, int(data.latents * method.most))
    first, last = _given(config, after, before, limit)
    pixels = _clip(first, last, data.frames)
    device = next(generator.transformer.parameters()).device
    latents = encode(generator.vae, to_pixels(torch.from_numpy(pixels).permute(3, 0, 1, 2)[None]).to(device))
    known = torch.zeros(data.latents, dtype=torch.bool)
    known[: _latents(len(first))] = True
    known[data.latents - len(last) // FRAMES_PER_LATENT :] = True
    text = generator.embedder(config.model.text_tokens)([prompt]).to(device)
    rng = torch.Generator().manual_seed(seed)
    made = fill(
        generator.transformer.eval(),
        latents,
        known,
        text,
        config.causal,
        method,
        config.sample.steps,
        config.train.flow_shift,
        rng,
    )
    decoder = StreamingDecoder(generator.vae)
    with VideoWriter(path, data.fps, data.width, data.height) as writer:
        for latent in made.split(1, dim=2):
            for image in to_bytes(decoder.decode(latent))[0].permute(1, 2, 3, 0).cpu().numpy():
                writer.write(image)
    return {
        "path": str(path),
        "frames": data.frames,
        "fps": data.fps,
        "seconds": round(data.frames / data.fps, 3),
        "took_s": round(time.perf_counter() - started, 2),
        "given": [len(first), len(last)],
    }


def _latents(frames: int) -> int:
    """Latents of the first frames of a clip."""
    return 0 if not frames else (frames - 1) // FRAMES_PER_LATENT + 1


def _given(
    config: Config, after: Path | None, before: Path | None, limit: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The frames of both ends, whole latents each, `limit` latents at most together."""
    first: list[np.ndarray] = []
    last: list[np.ndarray] = []
    if after is not None:
        most = limit if before is None else limit - limit // 2
        found = deque(_pictures(after, config), maxlen=1 + (most - 1) * FRAMES_PER_LATENT)
        whole = (len(found) - 1) // FRAMES_PER_LATENT * FRAMES_PER_LATENT + 1
        first = list(found)[-whole:]
    if before is not None:
        most = limit - _latents(len(first))
        last = list(islice(_pictures(before, config), most * FRAMES_PER_LATENT))
        # A latent behind the first is of four frames: what there is too little of stands still.
        last += last[-1:] * (-len(last) % FRAMES_PER_LATENT)
    return first, last


def _clip(first: list[np.ndarray], last: list[np.ndarray], frames: int) -> np.ndarray:
    """The given ends in their places. Between them the end stands still, for the VAE sees what was before a frame."""
    still = last[0] if last else first[-1]
    return np.stack([*first, *[still] * (frames - len(first) - len(last)), *last])


def _pictures(path: Path, config: Config) -> Iterator[np.ndarray]:
    """A file's pictures at the generator's rate and size."""
    try:
        with path.open("rb") as file, av.open(file, "r", options=_SAFE) as container:
            if not container.streams.video:
                raise UsageError(f"{path}: has no picture; give a picture or a video")
            stream = container.streams.video[0]
            if not 0 < stream.width * stream.height <= MOST_PIXELS:
                raise ValueError(f"its frames are {stream.width}x{stream.height}")
            ends_s = float((stream.duration or 0) * (stream.time_base or 0))  # a picture has no length
            count = 0
            for _, picture in sampled(_timed(container), config.data.fps, max(ends_s, 1 / config.data.fps)):
                count += 1
                yield fit(picture, config.data.width, config.data.height)
            if not count:
                raise UsageError(f"{path}: holds no picture that can be decoded")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as a picture or video: {error}") from error


def _timed(container: av.container.InputContainer) -> Iterator[tuple[float, av.VideoFrame]]:
    """Frames, each with its seconds since the first."""
    start = None
    for frame in container.decode(video=0):
        if frame.pts is not None and frame.time is not None:
            start = frame.time if start is None else start
            yield frame.time - start, frame
