"""From WebDataset shards to batches: `shards` reads members, `windows` decodes frames, `loader` makes the batches."""
