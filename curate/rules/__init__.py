"""Rules over stored scores: what a recipe may ask of a clip, and the judge that asks it.

`rule` is the language as it stands in a recipe, `sql` says it to DuckDB, `judge` decides over all clips and shows how
one of them fared. The stages that decide, `curate select`, `curate explain` and the report all use this one judge.
"""
