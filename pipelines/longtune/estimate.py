"""What a run will cost on a GPU: memory and time, from its config alone, with no weights and no GPU.

Networks are built on PyTorch's meta device, which has shapes and no numbers. Parameters and the optimiser's bytes are
then exact; floating-point operations are counted by running one block forward and backward there, as are the tensors
that autograd keeps of it. What is guessed is stated: how much of a GPU's peak is reached.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import AutoencoderKLWan
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import UMT5Config, UMT5EncoderModel

from pipelines.longtune.adapters import add_adapters, trainable
from pipelines.longtune.config import Config, ModelConfig
from pipelines.longtune.config_data import FRAMES_PER_LATENT, PIXELS_PER_TOKEN
from pipelines.longtune.errors import UsageError
from pipelines.longtune.methods.options import RandomMasksOptions
from pipelines.longtune.model.masks import teacher_forcing_mask, visible
from pipelines.longtune.model.rope import Places, training_positions
from pipelines.longtune.model.wan_causal import AttentionContext, CausalWanTransformer3DModel
from pipelines.longtune.weights import make_generator

UTILISATION = 0.4
"""Share of a GPU's dense peak that training reaches: ours, not measured; well-tuned transformers report 0.35 to 0.5."""
_FLOAT = 4  # bytes of float32: weights, gradients, moments and averages are kept in it
_CONTEXT_GB = 1.5  # the CUDA context, cuBLAS and the allocator's slack; a round figure, not measured
# How long a method's sequence is, in windows: teacher forcing has a clean copy beside the noisy one.
_COPIES = {"teacher_forcing": 2, "diffusion_forcing": 1, "random_masks": 1}


@dataclass(frozen=True)
class Gpu:
    """A GPU by its public specification."""

    name: str
    memory_gb: float
    tflops: float
    source: str


@dataclass(frozen=True)
class Cost:
    """Of one pass forward and backward over a rank's windows.

    Attributes:
        dense: floating-point operations with every token attending to every other, as on a CPU.
        sparse: where attention skips what the mask hides, as flex_attention does on CUDA.
        kept: bytes that autograd keeps, in float32, but for attention's scores, which a fused kernel does not keep.
    """

    dense: float
    sparse: float
    kept: float


@dataclass(frozen=True)
class Attention:
    """How a method attends.

    Attributes:
        seen: share of the pairs of tokens that are looked at.
        far: whether queries are rotated a second time, for a sink that stands at a distance of its own.
    """

    seen: float
    far: bool


def find_gpu(name: str) -> Gpu:
    """A GPU of the table by its name. Raises `UsageError` that lists them."""
    table = _data("gpus.yaml")
    if name not in table:
        raise UsageError(f"--gpu {name}: not in the table; there are: {', '.join(table)}")
    return Gpu(name, **table[name])


def estimate(config: Config, gpu: Gpu, ranks: int = 1, utilisation: float = UTILISATION) -> dict[str, Any]:
    """What a run of this config takes on `ranks` such GPUs.

    Raises:
        UsageError: the model's shape is not known here, or the method's cost is not counted.
    """
    copies = _COPIES.get(config.method.name)
    if copies is None:
        raise UsageError(f"method.name {config.method.name}: its cost is not counted; known: {', '.join(_COPIES)}")
    data, train = config.data, config.train
    if data.batch_size % ranks:
        raise UsageError(f"data.batch_size ({data.batch_size}) must be a multiple of the ranks ({ranks})")
    share = data.batch_size // ranks
    at_once = train.micro_batch or share
    transformer, vae, text_encoder = _networks(config.model)
    total = _count(transformer)
    with torch.device("meta"):
        if config.lora is not None:
            add_adapters(transformer, config.lora)
    trained = sum(value.numel() for value in trainable(transformer).values())
    per_frame = (data.height // PIXELS_PER_TOKEN) * (data.width // PIXELS_PER_TOKEN)
    frames = copies * data.latents
    attention = _attention(config, copies)
    words = config.model.text_tokens

    def cost_with(checkpointing: bool) -> Cost:
        return step_cost(transformer, at_once, frames, per_frame, words, attention, checkpointing)

    with_, without = cost_with(True), cost_with(False)
    cost = with_ if train.gradient_checkpointing else without
    half = 0.5 if train.precision != "fp32" else 1.0
    encode = 0.0 if data.input == "latents" else share * _encode_flops(vae, data.frames, data.height, data.width)
    memory = {
        "transformer": _FLOAT * (total + (trained if config.lora is not None else 0)) / ranks,
        "gradients": _FLOAT * trained / ranks,
        "optimizer": 2 * _FLOAT * trained / ranks,
        "average": _FLOAT * trained / ranks if config.ema is not None else 0.0,
        "bf16_copies": 2 * trained if half < 1 else 0.0,
        "activations": cost.kept * half,
        "vae": _FLOAT * _count(vae),
        "cuda": _CONTEXT_GB * 1e9,
    }
    micro_batches = share // at_once
    flops = cost.sparse * micro_batches + encode
    seconds = flops / (gpu.tflops * 1e12 * utilisation)
    layers, width = transformer.config.num_layers, _width(transformer)
    kv = 2 * layers * per_frame * width * _FLOAT
    held = data.latents if config.causal.window < 0 else config.causal.window + config.causal.sink
    need = sum(memory.values())
    return {
        "gpu": gpu.name,
        "gpu_source": gpu.source,
        "ranks": ranks,
        "utilisation": utilisation,
        "parameters": {
            "transformer": total,
            "trained": trained,
            "vae": _count(vae),
            "text_encoder": _count(text_encoder),
        },
        "tokens": {
            "per_frame": per_frame,
            "sequence": frames * per_frame,
            "per_step": frames * per_frame * data.batch_size,
        },
        "attention_share": round(attention.seen, 4),
        "memory_bytes": {name: int(value) for name, value in memory.items()},
        "memory_total_bytes": int(need),
        "host_bytes": {"text_encoder": _FLOAT * _count(text_encoder)},
        "memory_gpu_bytes": int(gpu.memory_gb * 1e9),
        "fits": need <= gpu.memory_gb * 1e9,
        "activations_bytes": {
            "with_checkpointing": int(with_.kept * half),
            "without_checkpointing": int(without.kept * half),
        },
        "kv_bytes": {"per_latent_frame": kv, "window_and_sink": kv * held},
        "mask_bytes": {"dense": (frames * per_frame) ** 2},
        "flops": {"step": flops, "step_dense": cost.dense * micro_batches + encode, "encode": encode},
        "seconds": {"step": round(seconds, 3), "run": round(seconds * train.steps, 1)},
        "gpu_hours": round(seconds * train.steps * ranks / 3600, 2),
    }


def step_cost(
    transformer: Any,
    batch: int,
    frames: int,
    per_frame: int,
    text_tokens: int,
    attention: Attention,
    checkpointing: bool,
) -> Cost:
    """Forward and backward of a transformer on the meta device.

    Args:
        transformer: adapters and all.
        batch: windows.
        frames: latent frames in the sequence, clean copies included.
        per_frame: tokens of one.
        text_tokens: of a caption.
        attention: how the method attends.
        checkpointing: whether blocks are run again in the backward pass.
    """
    tokens, width = frames * per_frame, _width(transformer)
    config, layers = transformer.config, transformer.config.num_layers
    with torch.device("meta"):
        states = torch.zeros(batch, tokens, width, requires_grad=True)
        embedded = next(transformer.condition_embedder.parameters()).requires_grad
        text = torch.zeros(batch, text_tokens, width, requires_grad=embedded)
        modulation = torch.zeros(batch, tokens, 6, width)
        angles = (torch.zeros(1, tokens, 1, config.attention_head_dim),) * 2
        mask = torch.zeros(tokens, tokens, dtype=torch.bool)
        context = AttentionContext(angles, angles, mask)
        if attention.far:
            context = replace(context, far_angles=angles, sink=torch.zeros(tokens, dtype=torch.bool))
        block = transformer.blocks[0]

        def run() -> Tensor:
            return block(states, text, modulation, context)

        flops, products, kept = _counted(run, transformer, tokens)
        again, products_again = _forward_only(run)
        rest, _, rest_kept = _counted(
            lambda: _ends(transformer, batch, frames, per_frame, text_tokens, states), transformer, tokens
        )
    if checkpointing:
        flops, products = flops + again, products + products_again
        kept += layers * batch * tokens * width * _FLOAT  # each block's input, and one block opened
    else:
        kept *= layers
    # Tokens attend to tokens, by the mask, and to the caption, by none; with two rotations, queries are twice as wide.
    own = tokens * (1.5 if attention.far else 1.0)
    hidden = products * own / (own + text_tokens) * (1 - attention.seen)
    dense = layers * flops + rest
    return Cost(dense, dense - layers * hidden, kept + rest_kept)


def _ends(transformer: Any, batch: int, frames: int, per_frame: int, text_tokens: int, states: Tensor) -> Tensor:
    """What is not in the blocks: embedding patches, times and captions, and the head."""
    config = transformer.config
    _, high, wide = config.patch_size
    latents = torch.zeros(batch, config.in_channels, frames, high, per_frame * wide)
    patches = transformer.patch_embedding(latents)
    text = torch.zeros(batch, text_tokens, config.text_dim)
    temb, modulation, text, _ = transformer.condition_embedder(
        torch.zeros(batch * frames), text, timestep_seq_len=frames
    )
    ends = transformer.proj_out(transformer.norm_out(states))
    return patches.sum() + temb.sum() + modulation.sum() + text.sum() + ends.sum()


def _counted(run: Callable[[], Tensor], network: nn.Module, tokens: int) -> tuple[float, float, float]:
    """FLOPs forward and backward, those of attention among them, and bytes that autograd keeps."""
    known = {value.untyped_storage()._cdata for value in network.parameters()}
    held: dict[int, Any] = {}  # by the storage's address, and holding it, so that no other takes that

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if tensor.shape[-2:] != (tokens, tokens) and storage._cdata not in known:
            held[storage._cdata] = storage
        return tensor

    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            out = run()
        out.sum().backward()
    return *_flops(counter), float(sum(storage.nbytes() for storage in held.values()))


@torch.no_grad()
def _forward_only(run: Callable[[], Tensor]) -> tuple[float, float]:
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return _flops(counter)


def _flops(counter: FlopCounterMode) -> tuple[float, float]:
    by_kind = counter.get_flop_counts()["Global"]
    products = sum(value for kind, value in by_kind.items() if "bmm" in str(kind))
    return float(counter.get_total_flops()), float(products)


@torch.no_grad()
def _encode_flops(vae: Any, frames: int, height: int, width: int) -> float:
    """Of one window. The VAE takes a frame, then four at a time: a round of each tells of all."""

    def counted(pictures: int) -> float:
        with torch.device("meta"), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            vae.encode(torch.zeros(1, 3, pictures, height, width))
        return float(counter.get_total_flops())

    first, both = counted(1), counted(1 + FRAMES_PER_LATENT)
    return first + (both - first) * ((frames - 1) // FRAMES_PER_LATENT)


def _attention(config: Config, copies: int) -> Attention:
    layout, numbers = config.causal, torch.arange(config.data.latents)
    if isinstance(config.method, RandomMasksOptions) and config.method.attention == "bidirectional":
        return Attention(1.0, False)
    rule = visible(numbers, numbers, layout, own_block=True)
    table = torch.as_tensor(teacher_forcing_mask(numbers, 1, layout)) if copies == 2 else rule
    return Attention(table.float().mean().item(), isinstance(training_positions(numbers, layout), Places))


def _networks(config: ModelConfig) -> tuple[Any, Any, Any]:
    """Transformer, VAE and text encoder on the meta device."""
    with torch.device("meta"):
        if config.tiny is not None:
            generator = make_generator(config)
            return generator.transformer, generator.vae, generator.text_encoder
        shapes = _shapes(str(config.source))
        return (
            CausalWanTransformer3DModel.from_config(shapes["transformer"]),
            AutoencoderKLWan.from_config(shapes["vae"]),
            UMT5EncoderModel(UMT5Config(**shapes["text_encoder"])),
        )


def _shapes(source: str) -> Mapping[str, Any]:
    released = _data("released.yaml")
    folder = Path(source)
    if not folder.is_dir():
        if source not in released:
            raise UsageError(f"model.from {source}: neither a folder nor known here; there are: {', '.join(released)}")
        return released[source]
    found = {}
    for part in ("transformer", "vae", "text_encoder"):
        path = folder / part / "config.json"
        try:
            found[part] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise UsageError(f"{path}: cannot be read ({error}); an estimate needs each part's config.json") from error
    return found


def _data(name: str) -> dict[str, Any]:
    return yaml.safe_load((resources.files("pipelines.longtune") / name).read_text())


def _count(network: nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


def _width(transformer: Any) -> int:
    return transformer.config.num_attention_heads * transformer.config.attention_head_dim
