"""The four networks of a generator, loaded from or saved to diffusers' folder layout.

A toy generator is made of the same classes with random weights; from then on nothing knows the difference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from diffusers.utils import logging as diffusers_logging
from transformers import AutoTokenizer, ByT5Tokenizer, UMT5Config, UMT5EncoderModel
from transformers.utils import logging as transformers_logging

from pipelines.longtune.config import ModelConfig, TinyConfig
from pipelines.longtune.errors import TuneError
from pipelines.longtune.model.wan_causal import CausalWanTransformer3DModel
from pipelines.longtune.text import TextEmbedder

PARTS = ("transformer", "vae", "text_encoder", "tokenizer")


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

    def embedder(self, tokens: int) -> TextEmbedder:
        """Captions to embeddings of `tokens` rows."""
        return TextEmbedder(self.tokenizer, self.text_encoder, tokens)


def make_generator(config: ModelConfig) -> Generator:
    """The generator training starts from. Random weights come from torch's global generator."""
    if config.tiny is not None:
        return _tiny(config.tiny)
    return load_generator(str(config.source))


def load_generator(source: str | Path) -> Generator:
    """Load from a local folder, or by hub id, in diffusers' layout (transformer/, vae/, text_encoder/, tokenizer/).

    Only safetensors are read: no pickle. Raises `TuneError` if a part is missing or cannot be read.
    """
    for chatter in (diffusers_logging, transformers_logging):
        chatter.disable_progress_bar()

    def part(name: str, load: Callable[..., Any], **options: Any) -> Any:
        try:
            return load(str(source), subfolder=name, **options)
        except (OSError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise TuneError(
                f"{source}: cannot load {name}: {reason[:300]}; model.from needs a folder, or a reachable hub id, "
                f"with {', '.join(PARTS)}"
            ) from error

    tensors = {"use_safetensors": True, "torch_dtype": torch.float32}
    return Generator(
        transformer=part("transformer", CausalWanTransformer3DModel.from_pretrained, **tensors),
        vae=part("vae", AutoencoderKLWan.from_pretrained, **tensors),
        text_encoder=part("text_encoder", UMT5EncoderModel.from_pretrained, use_safetensors=True, dtype=torch.float32),
        tokenizer=part("tokenizer", AutoTokenizer.from_pretrained),
    )


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
