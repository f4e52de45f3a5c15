"""The generator: diffusers' Wan transformer made frame-causal, with its masks, its rotary positions and its cache."""
