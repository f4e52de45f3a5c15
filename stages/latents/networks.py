"""A generator's frozen networks, out of a folder in diffusers' layout, and their fingerprints.

A latent or an embedding means something to a model of the very same network only, so each carries its fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from curate.models import HUB, WeightsError, device

WAN = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
"""What `hub` stands for: the VAE and text encoder are the same in every model of Wan 2.1. Apache-2.0."""
VAE, TEXT_ENCODER, TOKENIZER = "vae", "text_encoder", "tokenizer"
_NOT_MEANT = ("transformers_version", "torch_dtype", "dtype", "architectures")
"""Keys of a configuration that say who saved it, and not what the network does; so do those that begin with `_`."""
_NEEDS = "is not installed; run: pip install 'longtake[latents]'"


def part(source: str, name: str) -> Path:
    """The folder of one network.

    Args:
        source: a local folder in diffusers' layout, `hub`, or a hub id.
        name: vae, text_encoder or tokenizer.

    Raises:
        WeightsError: there is none.
    """
    root = Path(source).expanduser()
    if not root.is_dir():
        from huggingface_hub import snapshot_download

        repository = WAN if source == HUB else source
        try:
            root = Path(snapshot_download(repository, allow_patterns=[f"{name}/*"]))
        except Exception as error:  # whatever a client library raises where there is no network
            first = " ".join(str(error).split())[:200]
            raise WeightsError(f"{source}: no such folder, and no download ({first}); give a folder") from error
    if not (root / name).is_dir():
        raise WeightsError(f"{root}: has no folder {name}; give one in diffusers' layout, with vae and text_encoder")
    return root / name


@lru_cache(maxsize=8)
def fingerprint(folder: Path) -> str:
    """SHA-256 over a network's configuration and the names, kinds, shapes and bytes of its tensors.

    It does not hang on how the tensors are spread over files, nor on who saved them. 0.5 to 1 GB/s.

    Raises:
        WeightsError: the folder holds no configuration or no .safetensors file that can be read.
    """
    from safetensors import SafetensorError, safe_open

    files = sorted(folder.glob("*.safetensors"))
    try:
        config = json.loads((folder / "config.json").read_text())
        meant = {k: v for k, v in config.items() if k not in _NOT_MEANT and not k.startswith("_")}
        digest = hashlib.sha256(json.dumps(meant, sort_keys=True).encode())
        where = {}
        for file in files:
            with safe_open(str(file), "pt") as tensors:
                where.update(dict.fromkeys(tensors.keys(), file))
        for name, file in sorted(where.items()):
            with safe_open(str(file), "pt") as tensors:
                tensor = tensors.get_tensor(name).contiguous()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(memoryview(tensor.view(-1).view(_bytes()).numpy()))
    except (OSError, ValueError, AttributeError, SafetensorError) as error:
        raise WeightsError(f"{folder}: cannot be read ({error}); give a folder in diffusers' layout") from error
    if not where:
        raise WeightsError(f"{folder}: has no .safetensors file; weights of other kinds are not opened")
    return digest.hexdigest()


def _bytes() -> Any:
    import torch

    return torch.uint8


@lru_cache(maxsize=1)
def load_vae(folder: Path) -> Any:
    """An `AutoencoderKLWan` in float32, ready to encode. Raises `WeightsError`."""
    try:
        from diffusers import AutoencoderKLWan
    except ImportError:
        raise WeightsError(f"diffusers {_NEEDS}") from None
    return _ready(AutoencoderKLWan, folder)


@lru_cache(maxsize=1)
def load_text(encoder: Path, tokenizer: Path) -> tuple[Any, Any]:
    """The tokenizer and the `UMT5EncoderModel` in float32. Raises `WeightsError`."""
    try:
        from transformers import AutoTokenizer, UMT5EncoderModel
    except ImportError:
        raise WeightsError(f"transformers {_NEEDS}") from None
    try:
        words = AutoTokenizer.from_pretrained(str(tokenizer), local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{tokenizer}: cannot be loaded: {' '.join(str(error).split())[:300]}") from error
    return words, _ready(UMT5EncoderModel, encoder)


def _ready(kind: Any, folder: Path) -> Any:
    import torch

    torch.set_num_threads(1)  # a worker has one core
    try:
        network = kind.from_pretrained(
            str(folder), use_safetensors=True, local_files_only=True, torch_dtype=torch.float32
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise WeightsError(f"{folder}: cannot be loaded: {' '.join(str(error).split())[:300]}") from error
    return network.to(device()).eval().requires_grad_(False)
