"""The four networks of a generator, loaded from or saved to diffusers' folder layout.

A toy generator is made of the same classes with random weights; from then on nothing knows the difference.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from diffusers.utils import logging as diffusers_logging
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoTokenizer, ByT5Tokenizer, UMT5Config, UMT5EncoderModel
from transformers.utils import logging as transformers_logging

from pipelines.longtune.adapters import merge_adapters
from pipelines.longtune.config import ModelConfig, TinyConfig
from pipelines.longtune.errors import TuneError
from pipelines.longtune.model import far
from pipelines.longtune.model.wan_causal import CausalWanTransformer3DModel
from pipelines.longtune.text import TextEmbedder

PARTS = ("transformer", "vae", "text_encoder", "tokenizer")
LORA, SOURCES = "lora", "sources.json"  # beside the parts in a checkpoint
_WEIGHTS = "diffusion_pytorch_model.safetensors"  # diffusers' name


@dataclass
class Generator:
    """A text-to-video generator; each attribute is saved in the sub-folder of its name.

    Any, because mypy cannot see that diffusers' models are nn.Modules.
    """

    transformer: Any  # CausalWanTransformer3DModel
    vae: Any  # AutoencoderKLWan
    text_encoder: Any  # UMT5EncoderModel
    tokenizer: Any

    def to(self, device: torch.device) -> Generator:
        """Move all networks, text encoder and VAE frozen for use."""
        for network in (self.transformer, self.vae, self.text_encoder):
            network.to(device)
        self.text_encoder.eval().requires_grad_(False)
        self.vae.eval().requires_grad_(False)
        return self

    def embedder(self, tokens: int, device: torch.device | None = None) -> TextEmbedder:
        """Captions to embeddings of `tokens` rows, on `device`; by default where the text encoder is."""
        return TextEmbedder(self.tokenizer, self.text_encoder, tokens, device)


def make_generator(config: ModelConfig) -> Generator:
    """The generator training starts from. Random weights come from torch's global generator."""
    if config.tiny is not None:
        return _tiny(config.tiny)
    return load_generator(str(config.source))


def load_generator(source: str | Path, parts: Sequence[str] = PARTS) -> Generator:
    """Load from a local folder, or by hub id, in diffusers' layout (transformer/, vae/, text_encoder/, tokenizer/).

    A checkpoint of `curate train` may name another folder for a part that training leaves as it is, and hold adapters,
    which are merged here. Only safetensors are read: no pickle.

    Args:
        source: the folder or id.
        parts: what to load; the others are None.

    Raises:
        TuneError: a part is missing or cannot be read.
    """
    for chatter in (diffusers_logging, transformers_logging):
        chatter.disable_progress_bar()

    elsewhere = _sources(Path(source))

    def part(name: str, load: Callable[..., Any], **options: Any) -> Any:
        if name not in parts:
            return None
        place = elsewhere.get(name, str(source))
        try:
            return load(place, subfolder=name, **options)
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise TuneError(
                f"{place}: cannot load {name}: {reason[:300]}; model.from needs a folder, or a reachable hub id, "
                f"with {', '.join(PARTS)}"
            ) from error

    tensors = {"use_safetensors": True, "torch_dtype": torch.float32}
    transformer = part("transformer", CausalWanTransformer3DModel.from_pretrained, **tensors)
    if transformer is not None and (Path(source) / LORA).is_dir():
        merge_adapters(transformer, Path(source) / LORA)
    if transformer is not None and (Path(source) / far.FILE).is_file():
        far.attach_far(transformer, Path(source))
    return Generator(
        transformer=transformer,
        vae=part("vae", AutoencoderKLWan.from_pretrained, **tensors),
        text_encoder=part("text_encoder", UMT5EncoderModel.from_pretrained, use_safetensors=True, dtype=torch.float32),
        tokenizer=part("tokenizer", AutoTokenizer.from_pretrained),
    )


def load_vae(checkpoint: Path) -> Any:
    """The VAE of a checkpoint, in memory of its own.

    A file that is mapped into memory may lie at any address, and kernels sum in an order that depends on it: a resumed
    run would differ in the last bit.
    """
    options = {"use_safetensors": True, "torch_dtype": torch.float32}
    try:
        place = _sources(checkpoint).get("vae", str(checkpoint))
        vae = AutoencoderKLWan.from_pretrained(place, subfolder="vae", **options)
    except (OSError, ValueError, KeyError) as error:
        raise TuneError(f"{checkpoint}: cannot load vae: {' '.join(str(error).split())[:300]}") from error
    for parameter in vae.parameters():
        parameter.data = parameter.data.clone()
    return vae


def save_transformer(folder: Path, transformer: Any, weights: dict[str, Tensor]) -> None:
    """Write a transformer so that diffusers' stock class loads it.

    Args:
        folder: made here.
        transformer: gives the config; its own weights may be sharded, and are not read.
        weights: whole and on the CPU, under the stock class's names.
    """
    folder.mkdir(parents=True)
    # The class in memory is ours, or one that FSDP2 derived from it.
    values = {**json.loads(transformer.to_json_string()), "_class_name": "WanTransformer3DModel"}
    (folder / "config.json").write_text(json.dumps(values, indent=2))
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / _WEIGHTS, {"format": "pt"})


def _sources(folder: Path) -> dict[str, str]:
    path = folder / SOURCES
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text())
        return {part: str(values[part]) for part in PARTS if part in values}
    except (OSError, ValueError, TypeError) as error:
        raise TuneError(f"{path}: cannot be read ({error}); is this a checkpoint of `curate train`?") from error


def _tiny(config: TinyConfig) -> Generator:
    for chatter in (diffusers_logging, transformers_logging):
        chatter.disable_progress_bar()
    tokenizer = ByT5Tokenizer()  # bytes are its vocabulary: it needs no files
    transformer = CausalWanTransformer3DModel(
        num_attention_heads=config.heads,
        attention_head_dim=config.head_dim,
        in_channels=config.latent_channels,
        out_channels=config.latent_channels,
        text_dim=config.text_dim,
        ffn_dim=config.ffn_dim,
        num_layers=config.layers,
    )
    vae = AutoencoderKLWan(
        base_dim=config.vae_dim,
        z_dim=config.latent_channels,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        # Shortcuts around down- and upsampling, as in Wan2.2: an untrained VAE then hands on the averaged picture,
        # and learns in a hundred steps what takes one without them thousands.
        is_residual=True,
        latents_mean=[0.0] * config.latent_channels,
        latents_std=[1.0] * config.latent_channels,
    )
    text_encoder = UMT5EncoderModel(
        UMT5Config(
            vocab_size=len(tokenizer),
            d_model=config.text_dim,
            d_kv=config.text_dim // 2,
            d_ff=2 * config.text_dim,
            num_layers=1,
            num_heads=2,
        )
    )
    return Generator(transformer, vae, text_encoder, tokenizer)
