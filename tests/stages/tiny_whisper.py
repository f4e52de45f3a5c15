"""A real Whisper of two tiny layers that says what it is told to, saved as its authors save theirs; and in the form of
CTranslate2."""

from __future__ import annotations

import string
from itertools import islice, pairwise, product
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES

TEXTS = 50257
"""Tokens of text in the vocabulary of the multilingual models; CTranslate2 knows them by its length."""
WIDTH = 64


def save(
    folder: Path, answer: str, language: str = "de", sure: float = 1.0, silent: bool = False, loop: bool = False
) -> Path:
    """The folder of a model that answers everything with these words.

    Each token calls the next one: no layer adds anything, and what stands behind a token's embedding is the next one.

    Args:
        sure: 1: of each word to 1.0; 0.15: to about 0.2.
        silent: whether it hears no speech.
        loop: whether it begins anew after the last word.
    """
    tongues = list(LANGUAGES)[:99]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [f"Ġ{word}" for word in answer.split()]
    fill = ("".join(made) for made in product(string.ascii_lowercase, repeat=4))
    texts = [*letters, *dict.fromkeys(words)]
    texts += islice((word for word in fill if word not in answer), TEXTS - len(texts) - 1)
    texts.append("")  # as theirs has; CTranslate2 tells by it that a model is multilingual
    control = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in tongues), "<|translate|>"]
    control += ["<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    times = [f"<|{n / 50:.2f}|>" for n in range(1501)]
    number = {token: n for n, token in enumerate([*texts, *control, *times])}
    bpe = Tokenizer(BPE({token: number[token] for token in texts}, []))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens([AddedToken(token, special=True) for token in control])
    bpe.add_tokens([AddedToken(token) for token in times])
    tokenizer = WhisperTokenizer(tokenizer_object=bpe, unk_token=control[0], bos_token=control[0])
    tokenizer.eos_token = tokenizer.pad_token = control[0]
    extractor = WhisperFeatureExtractor()
    torch.manual_seed(0)
    end, start = number["<|endoftext|>"], number["<|startoftranscript|>"]
    config = WhisperConfig(
        vocab_size=len(number),
        d_model=WIDTH,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=WIDTH,
        decoder_ffn_dim=WIDTH,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
        suppress_tokens=[],
        begin_suppress_tokens=[],
        tie_word_embeddings=False,
    )
    model = WhisperForConditionalGeneration(config)
    decoder = model.model.decoder
    with torch.no_grad():
        decoder.embed_positions.weight.zero_()
        for layer in decoder.layers:
            for last in (layer.self_attn.out_proj, layer.encoder_attn.out_proj, layer.fc2):
                last.weight.zero_()
                last.bias.zero_()
        decoder.embed_tokens.weight.normal_()
        after = torch.nn.functional.layer_norm(decoder.embed_tokens.weight, (WIDTH,))
        model.proj_out.weight = torch.nn.Parameter(torch.zeros(len(number), WIDTH))
        said = [number["<|notimestamps|>"], *(number[word] for word in words), end]
        if loop:
            said = [*said[:-1], said[1]]
        for one, other in pairwise(said):
            model.proj_out.weight[other] += after[one] * (1 if other == end else sure)
        model.proj_out.weight[number["<|nospeech|>" if silent else f"<|{language}|>"]] += after[start]
        model.proj_out.weight[number[f"<|{language}|>"]] += after[start] * 0.5
    model.generation_config = GenerationConfig()
    told = {
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "alignment_heads": [[0, 0], [1, 1]],
        "is_multilingual": True,
        "lang_to_id": {f"<|{code}|>": number[f"<|{code}|>"] for code in tongues},
        "task_to_id": {task: number[f"<|{task}|>"] for task in ("translate", "transcribe")},
        "no_timestamps_token_id": number["<|notimestamps|>"],
        "prev_sot_token_id": number["<|startofprev|>"],
        "decoder_start_token_id": start,
        "max_length": 128,
        "max_initial_timestamp_index": 50,
        "return_timestamps": False,
        "suppress_tokens": [],
        "begin_suppress_tokens": [],
    }
    for name, value in told.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    WhisperProcessor(extractor, tokenizer).save_pretrained(folder)
    return folder


def converted(folder: Path, to: Path) -> Path:
    """The same as CTranslate2 has it, by its own converter."""
    from ctranslate2.converters import TransformersConverter

    files = [name for name in ("tokenizer.json", "preprocessor_config.json") if (folder / name).exists()]
    TransformersConverter(str(folder), copy_files=files).convert(str(to), force=True)
    return to
