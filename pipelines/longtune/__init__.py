"""Longtune: trains a causal long-video generator on the shards of long takes, and streams video from it.

The order of reading follows the data: `data/` (shards to windows of frames), `vae.py` and `text.py` (frames and
captions to latents and embeddings), `model/` (the frame-causal transformer), `methods/` (the losses), `train.py` (the
run), `stream.py` and `generate.py` (a checkpoint to a video). `cli.py` holds the commands.
"""
