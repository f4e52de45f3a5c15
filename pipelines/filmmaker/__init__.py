"""The studio behind `curate sample`: storyboard in, film and truth out, every pixel and every sound computed.

It stands before the pipeline: nothing of it runs in a curation job. It exists so that a fresh machine has a film to
curate, and the tests a film whose cuts, takes and speech are known to the frame.
"""
