"""NVIDIA's Parakeet at random weights and tiny size, CTC and TDT, saved as theirs is. It writes garbage."""

from __future__ import annotations

import string
from itertools import islice, product
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    GenerationConfig,
    ParakeetCTCConfig,
    ParakeetEncoderConfig,
    ParakeetFeatureExtractor,
    ParakeetForCTC,
    ParakeetForTDT,
    ParakeetProcessor,
    ParakeetTDTConfig,
    ParakeetTokenizer,
)

TOKENS = 60
UNKNOWN, PAD = "<unk>", "<pad>"


def save(folder: Path, kind: str) -> Path:
    """The folder of a model, `ctc` or `tdt`."""
    words = ["".join(made) for made in islice(product(string.ascii_lowercase, repeat=2), TOKENS)]
    vocabulary = {(f"▁{word}" if n % 2 else word): n for n, word in enumerate(words)}
    vocabulary |= {UNKNOWN: TOKENS, PAD: TOKENS + 1} | ({"<blank>": TOKENS + 2} if kind == "tdt" else {})
    bpe = Tokenizer(BPE(vocabulary, [], unk_token=UNKNOWN))
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer = ParakeetTokenizer(tokenizer_object=bpe, unk_token=UNKNOWN, pad_token=PAD)
    encoder = ParakeetEncoderConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        subsampling_conv_channels=8,
        num_mel_bins=80,
    )
    torch.manual_seed(0)
    common = {"vocab_size": len(vocabulary), "encoder_config": encoder, "pad_token_id": TOKENS + 1}
    if kind == "ctc":
        model = ParakeetForCTC(ParakeetCTCConfig(**common))
    else:
        more = {"decoder_hidden_size": 16, "num_decoder_layers": 1, "blank_token_id": TOKENS + 2}
        model = ParakeetForTDT(ParakeetTDTConfig(**common, **more))
        model.generation_config = GenerationConfig(decoder_start_token_id=TOKENS + 2, pad_token_id=TOKENS + 1)
    with torch.no_grad():  # else it would say one thing for ever
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "subsampling" not in name:
                weight.normal_(0, {"ctc": 0.5, "tdt": 0.7}[kind])
    model.save_pretrained(folder)
    ParakeetProcessor(ParakeetFeatureExtractor(feature_size=80), tokenizer).save_pretrained(folder)
    return folder
