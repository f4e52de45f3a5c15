"""From WebDataset shards to batches: `index` knows where everything lies, `order` what comes next, `loader` makes it.

A tar is read by offsets (`tar`), a window of video by its keyframes (`windows`), of latents by its frames (`latents`);
`places` and `captions` say which frames count, and under which prompt.
"""
