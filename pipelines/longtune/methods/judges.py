"""The networks that judge: of the generator's own class, loaded from a folder in diffusers' layout."""

from __future__ import annotations

from typing import Any

from pipelines.longtune.errors import TuneError
from pipelines.longtune.model.wan_causal import CausalWanTransformer3DModel


def load_judge(source: str, like: Any, key: str) -> Any:
    """A transformer that reads the same latents and captions as `like`, on its device and in its precision.

    Args:
        source: a local folder, or a hub id, with a sub-folder `transformer`. Only safetensors are read: no pickle.
        like: the generator.
        key: of the config, which errors name.

    Raises:
        TuneError: it cannot be loaded, or is of another latent space or text encoder.
    """
    options = {"subfolder": "transformer", "use_safetensors": True, "torch_dtype": like.dtype}
    try:
        judge: Any = CausalWanTransformer3DModel.from_pretrained(source, **options)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise TuneError(f"{key}: {source}: cannot load its transformer: {reason}") from error
    for name in ("in_channels", "text_dim"):
        theirs, ours = judge.config[name], like.config[name]
        if theirs != ours:
            raise TuneError(
                f"{key}: {source}: its {name} is {theirs}, the generator's {ours}; give one of the same family"
            )
    for parameter in judge.parameters():
        # In memory of its own: a mapped file may lie at any address, by which kernels sum in another order, and a
        # resumed run would differ in the last bit.
        parameter.data = parameter.data.clone()
    return judge.to(like.device)
