"""Moments of a dataset by what their captions say: `curate search DATASET "text"`.

`words` ranks captions by the words they share with the query, `moments` by meaning too, and tells each moment once.
"""
