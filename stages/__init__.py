"""The stages: what each reads, writes and does to a video. They know nothing of Dask or of where files lie."""
