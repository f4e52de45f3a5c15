"""Where gradients go, and what training leaves alone."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

from pipelines.longtune.proofs.subject import Proof, Subject

_RANK = 4


def newest_clip_only(subject: Subject) -> Proof:
    """A loss on the newest block must reach it, and neither the history nor the cache."""
    layout, model, name = subject.layout, subject.model, "a gradient comes through the newest clip alone"
    history = subject.latents(subject.enough(layout)).requires_grad_()
    stream = subject.filled(history, subject.text(), layout)
    held = [tensor for layer in stream.cache.layers for tensor in layer]
    before = [tensor.clone() for tensor in held]
    newest = subject.latents(layout.block, seed=1).requires_grad_()
    # One weight stands for all: with gradients for every weight a large generator would need its size again.
    weight = model.patch_embedding.weight.requires_grad_()
    try:
        stream.velocity(newest, 0.5).square().mean().backward()
        reached = [tensor is not None and bool(tensor.abs().sum() > 0) for tensor in (newest.grad, weight.grad)]
    finally:
        weight.requires_grad_(False)
        weight.grad = None
    if not all(reached):
        return Proof(name, None, 0.0, "the newest clip gets no gradient")
    leaks = float(history.grad is not None) + sum(tensor.requires_grad for tensor in held)
    leaks += sum(not torch.equal(old, new) for old, new in zip(before, held, strict=True))
    return Proof(name, leaks, 0.0, f"tensors reached or changed among the history and {len(held)} of the cache")


def adapters_leave_the_base(subject: Subject) -> Proof:
    """A step on LoRA adapters must change what is predicted, and no bit of the generator's own weights."""
    from peft import LoraConfig

    model, name = subject.model, "LoRA training leaves the base bit-identical"
    video, text = subject.latents(subject.layout.block), subject.text()
    before, calm = _prints(model), subject.masked(video, text, subject.layout)[0]
    model.add_adapter(LoraConfig(r=_RANK, target_modules=["to_q", "to_v"]), adapter_name="proof")
    try:
        adapters = [value for key, value in model.named_parameters() if "lora_" in key]
        for value in adapters:
            value.requires_grad_()
        optimizer = torch.optim.SGD(adapters, lr=1.0)
        positions = torch.arange(video.shape[2], device=video.device)
        timestep = torch.full((1, len(positions)), 500.0, device=video.device)
        for _ in range(2):  # the first moves B away from zero, and only then does A get a gradient
            optimizer.zero_grad()
            model(video, timestep, text, positions=positions)[0].square().mean().backward()
            optimizer.step()
        moved = float((subject.masked(video, text, subject.layout)[0] - calm).abs().max())
        after = _prints(model)
    finally:
        model.unload_lora()
        model.requires_grad_(False)
    if not moved:
        return Proof(name, None, 0.0, "the adapters changed nothing")
    last = _prints(model)
    changed = sum(value != after[key] or value != last[key] for key, value in before.items())
    return Proof(name, float(changed), 0.0, f"of {len(before)} tensors, after 2 steps and without the adapters")


def _prints(model: torch.nn.Module) -> dict[str, int]:
    """A checksum of each weight, under the name it has without adapters."""
    return {
        key.replace(".base_layer", ""): _print(value) for key, value in model.state_dict().items() if "lora_" not in key
    }


def _print(tensor: Tensor) -> int:
    return zlib.crc32(tensor.detach().contiguous().cpu().view(torch.uint8).numpy().data)
