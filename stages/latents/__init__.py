"""What a generator's frozen networks make of a clip, once and for all: latents of its pictures, embeddings of its text.

`networks` loads them, `encode` and `text` use them, and the trainer does so by the same code; `stage` has the stages.
"""
