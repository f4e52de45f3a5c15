"""Runs all proofs on a checkpoint, in float32.

Memory is the transformer's and VAE's weights in float32, and little more: frames have six tokens, prompts are random
(the text encoder is not loaded), the stock class shares the weights, adapters are of rank 4, and eight bits come last,
in place.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from pipelines.longtune.checkpoint import find_checkpoint, read_config
from pipelines.longtune.config_data import FRAMES_PER_LATENT
from pipelines.longtune.errors import TuneError, UsageError
from pipelines.longtune.parallel import pick_device
from pipelines.longtune.proofs import attention, bits, cost, gradient, pixels
from pipelines.longtune.proofs.subject import Proof, Subject
from pipelines.longtune.weights import load_generator

FAR = 600 // FRAMES_PER_LATENT  # flatness is followed to latent 150, frame 597 of the video

PROOFS: list[Callable[[Subject], Proof | list[Proof]]] = [
    attention.stock,
    attention.stream_is_training,
    attention.stream_is_training_elsewhere,
    attention.wrong_masks_show,
    attention.no_look_ahead,
    attention.recache_in_sight,
    attention.recache_later,
    attention.coarse_past,
    attention.batch_is_runs,
    attention.multiple_of_128,
    attention.flex_is_dense,
    cost.flat,
    gradient.newest_clip_only,
    pixels.encoded_in_parts,
    pixels.decoded_in_parts,
    gradient.adapters_leave_the_base,
    bits.eight_bits,  # last: it changes the weights
]


def verify(
    checkpoint: Path, device: str, say: Callable[[str], None], show: Callable[[Proof], None] = lambda proof: None
) -> list[Proof]:
    """Prove a checkpoint.

    Args:
        checkpoint: a run's folder, or its checkpoint.
        device: auto, cpu or cuda.
        say: takes lines for people.
        show: called with each proof as it is made.

    Raises:
        UsageError: there is no checkpoint, or no such device.
    """
    found = find_checkpoint(checkpoint)
    if found is None:
        raise UsageError(f"{checkpoint}: no checkpoint here; give the folder that `curate train -o` wrote")
    config = read_config(found)
    where = pick_device(device)
    generator = load_generator(found, parts=("transformer", "vae"))
    size = sum(value.numel() for part in (generator.transformer, generator.vae) for value in part.parameters())
    say(f"{found}: {size / 1e6:.1f} M weights on {where.type}, {4 * size / 1e9:.2f} GB in float32")
    transformer, vae = (part.float().to(where).eval() for part in (generator.transformer, generator.vae))
    transformer.requires_grad_(False)
    vae.requires_grad_(False)
    return prove(Subject(transformer, vae, config.causal, config.data.latents, FAR), show)


def prove(subject: Subject, show: Callable[[Proof], None] = lambda proof: None) -> list[Proof]:
    """All proofs of a subject. One that cannot be carried out is a failed one, with the error as its detail."""
    made: list[Proof] = []
    exact = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        for proof in PROOFS:
            try:
                found = proof(subject)
            except (RuntimeError, ValueError, TuneError) as error:
                found = Proof(_name(proof), None, 0.0, " ".join(str(error).split())[:300])
            for one in found if isinstance(found, list) else [found]:
                made.append(one)
                show(one)
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = exact
    return made


def _name(proof: Callable[..., object]) -> str:
    return getattr(proof, "__name__", str(proof)).replace("_", " ")
