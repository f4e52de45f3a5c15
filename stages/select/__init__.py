"""Screen and select: rules over stored scores decide which clips the dear models look at, and which clips are in.

Nothing is measured here, so deciding anew takes seconds. The rules themselves are `curate.rules`.
"""
