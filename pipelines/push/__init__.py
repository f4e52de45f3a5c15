"""A dataset for others: `curate push DATASET TARGET` lays it out as the Hugging Face Hub wants it, and puts it there.

`ready` says whether it may be published, `table` makes its Parquet files, `card` its page; `folder` and `hub` are the
places to put it. What was published before is held against what is there now: only the difference moves.
"""
