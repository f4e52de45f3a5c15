"""LoRA by peft and diffusers: low-rank adapters beside the frozen weights of a transformer, and their file.

The file is what diffusers' `load_lora_weights` reads: keys under `transformer.`, rank and alpha in its metadata.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import WanLoraLoaderMixin
from peft import LoraConfig as PeftConfig
from peft import get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from pipelines.longtune.config import LoraConfig
from pipelines.longtune.errors import TuneError, UsageError

FILE = "pytorch_lora_weights.safetensors"  # diffusers' name
_NAME = "default"  # peft's adapter name


def add_adapters(transformer: Any, config: LoraConfig) -> None:
    """Freeze the transformer and put trainable float32 adapters into its blocks. Draws from torch's global generator.

    Raises:
        UsageError: no module has such a name.
    """
    targets = [
        name
        for name, module in transformer.blocks.named_modules(prefix="blocks")
        if isinstance(module, nn.Linear) and any(name == t or name.endswith(f".{t}") for t in config.targets)
    ]
    missed = [target for target in config.targets if not any(name.endswith(f".{target}") for name in targets)]
    if missed:
        known = sorted({name.split(".", 2)[2] for name in _linears(transformer)})
        raise UsageError(f"lora.targets: no Linear of a block is called {missed[0]}; there are {', '.join(known)}")
    transformer.requires_grad_(False)
    transformer.add_adapter(_peft(config, targets))
    for parameter in trainable(transformer).values():
        parameter.data = parameter.data.float()  # peft makes them in the base's type; bf16 steps of 1e-5 would vanish


def trainable(network: nn.Module) -> dict[str, nn.Parameter]:
    """What is trained of a network, by name."""
    return {name: value for name, value in network.named_parameters() if value.requires_grad}


def base_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A transformer's own weights out of a state dict that has adapters in it, under the names of the stock class."""
    return {key.replace(".base_layer.", "."): value for key, value in weights.items() if ".lora_" not in key}


def save_adapters(folder: Path, transformer: Any, weights: dict[str, Tensor]) -> None:
    """Write the adapters among `weights` (a state dict, whole and on the CPU) into `folder`."""
    layers = get_peft_model_state_dict(transformer, state_dict=weights, adapter_name=_NAME)
    config = transformer.peft_config[_NAME].to_dict()
    WanLoraLoaderMixin.save_lora_weights(
        str(folder),
        {key: value.contiguous() for key, value in layers.items()},
        transformer_lora_adapter_metadata={**config, "target_modules": sorted(config["target_modules"])},
    )


def merge_adapters(transformer: Any, folder: Path) -> None:
    """Add what `folder` holds to the transformer's weights; no adapter is left.

    Raises:
        TuneError: the file is missing, broken, or of another model.
    """
    path = folder / FILE
    try:
        with safe_open(path, "pt") as file:
            if not (file.metadata() or {}).get("lora_adapter_metadata"):
                raise TuneError(f"{path}: does not say its rank and alpha; is it written by `curate train`?")
        transformer.load_lora_adapter(str(folder), prefix="transformer", weight_name=FILE, adapter_name=_NAME)
    except (OSError, SafetensorError, ValueError, RuntimeError, KeyError, json.JSONDecodeError) as error:
        raise TuneError(f"{path}: cannot be loaded into this transformer: {str(error)[:300]}") from error
    transformer.fuse_lora(adapter_names=[_NAME])
    transformer.unload_lora()


def has_adapters(network: nn.Module) -> bool:
    """Whether a network was given adapters."""
    return any(isinstance(module, LoraLayer) for module in network.modules())


def _peft(config: LoraConfig, targets: list[str]) -> PeftConfig:
    # B starts as zeros: the first step's output is the base's.
    return PeftConfig(r=config.rank, lora_alpha=config.alpha, target_modules=targets, init_lora_weights=True)


def _linears(transformer: Any) -> list[str]:
    return [name for name, module in transformer.blocks.named_modules(prefix="blocks") if type(module) is nn.Linear]


def lora_parameters(shapes: dict[str, torch.Size], config: LoraConfig) -> int:
    """How many numbers the adapters of a transformer have, from its weights' shapes."""
    return sum(
        config.rank * sum(shape)
        for name, shape in shapes.items()
        if name.startswith("blocks.")
        and len(shape) == 2
        and any(name.removesuffix(".weight").endswith(f".{target}") for target in config.targets)
    )
