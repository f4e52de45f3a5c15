"""A real Qwen2.5-VL of 0.2 M parameters at random weights, saved as its authors save theirs. It writes garbage."""

import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
CONTROL += ["<|video_pad|>", "<|vision_pad|>"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@contextmanager
def served(folder: Path, log: Path) -> Iterator[str]:
    """URL of `transformers serve` over the folder."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [str(Path(sys.executable).parent / "transformers"), "serve", str(folder), "--device", "cpu"]
    command += ["--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        try:
            deadline = time.monotonic() + 120
            while process.poll() is None and time.monotonic() < deadline:
                with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
                time.sleep(0.2)
            else:
                raise RuntimeError(log.read_text()[-3000:])
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


def save(folder: Path, seed: int = 0, answer: str | None = None) -> Path:
    """The folder with model, tokenizer and processor. With an answer, it is all that the model says, whatever it is
    shown: no attention, and each word of the answer is a token that calls the next one."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(BPE({letter: number for number, letter in enumerate(letters)}, []))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        extra_special_tokens=CONTROL,
    )
    tokenizer.eos_token, tokenizer.pad_token = "<|im_end|>", "<|endoftext|>"
    words = re.findall(r"\S+\s*", answer or "")
    assert len(set(words)) == len(words)
    tokenizer.add_tokens(words)
    number = tokenizer.convert_tokens_to_ids
    sizes = {"patch_size": 14, "merge_size": 2, "temporal_patch_size": 2}
    pixels = {"size": {"shortest_edge": 28 * 28, "longest_edge": 56 * 84}}
    Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**sizes, **pixels),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(**sizes, **pixels),
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "bos_token_id": None,
            "eos_token_id": number("<|im_end|>"),
            "pad_token_id": number("<|endoftext|>"),
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0},
            "initializer_range": 0.3,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 64,
            "fullatt_block_indexes": [1],
            "window_size": 56,
            "initializer_range": 0.3,
        },
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
    )
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = number("<|im_end|>")
    model.generation_config.pad_token_id = number("<|endoftext|>")
    # A trained model does not write these; servers differ in whether they show them.
    model.generation_config.suppress_tokens = [number(mark) for mark in CONTROL if mark != "<|im_end|>"]
    if answer:
        _teach(model, [tokenizer("\n").input_ids[-1], *map(number, words), number("<|im_end|>")])
    model.save_pretrained(folder)
    return folder


def _teach(model: Qwen2_5_VLForConditionalGeneration, chain: list[int]) -> None:
    for layer in model.model.language_model.layers:
        layer.self_attn.o_proj.weight.data.zero_()
    optimizer = torch.optim.Adam([model.get_input_embeddings().weight, model.lm_head.weight], lr=0.05)
    for _ in range(60):
        said = model(input_ids=torch.tensor([chain[:-1]])).logits[0]
        loss = torch.nn.functional.cross_entropy(said, torch.tensor(chain[1:]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.detach() < 0.1
