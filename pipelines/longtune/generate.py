"""A checkpoint and prompts to a video file: stream latents, decode them as they come, write the frames at once.

Nothing is kept of a block once its frames are written but what the cache, the decoder's features and the encoder hold,
all of fixed size: a video may be as long as the disk is large.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from pipelines.longtune.config import Config
from pipelines.longtune.config_data import FRAMES_PER_LATENT
from pipelines.longtune.errors import UsageError
from pipelines.longtune.methods.far import FarStream
from pipelines.longtune.methods.options import FarOptions, RollingForcingOptions
from pipelines.longtune.methods.rolling_forcing import rolling_blocks
from pipelines.longtune.methods.temp_lora import TempLora
from pipelines.longtune.prompts import Cue, Prompts, TimedPrompts
from pipelines.longtune.stream import CausalStream, stream_blocks
from pipelines.longtune.vae import StreamingDecoder, to_bytes
from pipelines.longtune.video import VideoWriter
from pipelines.longtune.weights import Generator


@dataclass(frozen=True)
class Progress:
    """Where a video stands after a block.

    Attributes:
        block: number of the block, from 1.
        frames: frames written.
        total: frames in all; None if no length is set.
        took_s: seconds that the block took, decoding and writing included.
        cache_bytes: of the keys and values held.
        rss_bytes: of the process, now.
    """

    block: int
    frames: int
    total: int | None
    took_s: float
    cache_bytes: int
    rss_bytes: int


@torch.no_grad()
def generate_video(
    generator: Generator,
    config: Config,
    prompts: str | Prompts,
    seconds: float | None,
    seed: int,
    path: Path,
    on_block: Callable[[Progress], None] = lambda progress: None,
) -> dict[str, Any]:
    """Write a video to `path`, at the frame rate and size the generator was trained with.

    Args:
        generator: the networks, the text encoder where you like: a prompt is embedded once.
        config: the run they come from; its section `sample` says how to sample.
        prompts: what to show; a change holds from the next block on, by a recache of what is in sight.
        seconds: length, rounded to whole frames, at least one; None goes on until the prompts are over.
        seed: of the noise.
        path: an .mp4.
        on_block: called after each block.

    Raises:
        UsageError: it is longer than the model's positions reach.
        TuneError: the file cannot be written.

    Returns:
        What was made: path, frames, seconds, fps, took_s, prompts (each with the second and frame it held from),
        blocks, the first and last block's cache_bytes and block_s; peak_rss_bytes of the process since its start.
    """
    started = time.perf_counter()
    data, layout = config.data, config.causal
    vae = generator.vae
    total = None if seconds is None else max(1, round(seconds * data.fps))
    source = TimedPrompts([Cue(0, prompts)]) if isinstance(prompts, str) else prompts
    device = next(generator.transformer.parameters()).device
    embedder = generator.embedder(config.model.text_tokens)

    def embed(captions: list[str]) -> Tensor:
        return embedder(captions).to(device)

    text = source.at(0)
    if text is None:
        raise ValueError("a video needs a prompt from 0 s on")
    told = [{"second": 0.0, "frame": 0, "text": text}]
    stream = _stream(generator.transformer.eval(), embed, text, config, torch.Generator().manual_seed(seed))
    if total is not None:
        _check_length(stream, total, config, generator.transformer.config.rope_max_seq_len)
    side = vae.spatial_compression_ratio
    shape = (1, generator.transformer.config.in_channels, layout.block, data.height // side, data.width // side)
    blocks = _blocks(stream, shape, config)
    decoder, process = StreamingDecoder(vae), psutil.Process()
    first = last = None
    with ExitStack() as stack:
        writer = stack.enter_context(VideoWriter(path, data.fps, data.width, data.height))
        if config.sample.temp_lora is not None:
            lora = TempLora(generator.transformer, config.sample.temp_lora, layout, config.train.flow_shift, seed)
            blocks = stack.enter_context(lora).blocks(blocks, stream)
        while True:
            begun = time.perf_counter()
            with torch.autocast(device.type, torch.bfloat16, enabled=_low_precision(config, device)):
                block = next(blocks)
            # The last block is decoded only as far as it is written (the first latent is a single frame).
            left = sys.maxsize if total is None else total - writer.frames
            needed = -(-left // FRAMES_PER_LATENT) + 1
            pixels = to_bytes(decoder.decode(block[:, :, :needed]))[0].permute(1, 2, 3, 0).cpu().numpy()
            for image in pixels[:left]:
                writer.write(image)
            number = stream.frame // layout.block
            took = time.perf_counter() - begun
            last = Progress(number, writer.frames, total, took, stream.cache.nbytes, process.memory_info().rss)
            first = first or last
            on_block(last)
            if writer.frames == total or (total is None and source.over):
                break
            second = writer.frames / data.fps
            text = source.at(second)
            if text is not None:
                told.append({"second": round(second, 3), "frame": writer.frames, "text": text})
                with torch.autocast(device.type, torch.bfloat16, enabled=_low_precision(config, device)):
                    stream.switch(embed([text]))
    return {
        "path": str(path),
        "frames": last.frames,
        "fps": data.fps,
        "seconds": round(last.frames / data.fps, 3),
        "took_s": round(time.perf_counter() - started, 2),
        "prompts": told,
        "blocks": last.block,
        "cache_bytes": {"first": first.cache_bytes, "last": last.cache_bytes},
        "block_s": {"first": round(first.took_s, 4), "last": round(last.took_s, 4)},
        "peak_rss_bytes": _peak_rss(),
    }


def _stream(
    model: Any, embed: Callable[[list[str]], Tensor], text: str, config: Config, rng: torch.Generator
) -> CausalStream | FarStream:
    """A fresh stream that remembers the past as it looked in training."""
    guidance, method = config.sample.guidance, config.method
    dropped = embed([""]) if guidance > 1 else None
    options: dict[str, Any] = {"rng": rng, "guidance": guidance, "dropped": dropped}
    if isinstance(method, FarOptions) and method.long_context:
        return FarStream(model, embed([text]), config.causal, span=config.data.latents, **options)
    return CausalStream(model, embed([text]), config.causal, context_timestep=method.context_timestep, **options)


def _check_length(stream: CausalStream | FarStream, total: int, config: Config, limit: int) -> None:
    """Raise `UsageError` before hours are spent on a video that its positions will not reach the end of."""
    layout = config.causal
    counted = layout.positions == "absolute" or layout.window < 0
    longest = 1 + (limit // layout.block * layout.block - 1) * FRAMES_PER_LATENT
    if counted and isinstance(stream, CausalStream) and total > longest:
        raise UsageError(
            f"{total} frames are more than the {longest} ({longest / config.data.fps:.0f} s) that a model with "
            f"causal.positions: {layout.positions} and window {layout.window} can tell apart; ask for less, or train "
            "with relative positions and a window"
        )


def _blocks(stream: CausalStream | FarStream, shape: tuple[int, ...], config: Config) -> Iterator[Tensor]:
    """Clean blocks without end, made as the method has trained the generator to make them."""
    sample, shift = config.sample, config.train.flow_shift
    if isinstance(config.method, RollingForcingOptions) and isinstance(stream, CausalStream):
        return rolling_blocks(stream, shape, config.method.blocks, sample.steps, shift)
    return stream_blocks(stream, shape, sample.steps, shift, sample.solver)


def _low_precision(config: Config, device: torch.device) -> bool:
    """Whether to compute in bf16, as the training did or would have on this device; pixels stay in float32."""
    precision = config.train.precision
    return precision == "bf16" or (precision == "auto" and device.type == "cuda")


def _peak_rss() -> int:
    """The process's largest memory so far. Linux counts it in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
