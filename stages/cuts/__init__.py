"""Cuts: where one shot ends and the next begins.

`signals` measures on the shared decode, `evidence` makes comparable numbers of it, `classifier` gives every frame a
probability for every kind of transition, `cascade` makes candidates of them, and `second_opinion` asks TransNetV2 about
those that are neither likely nor unlikely. `stage` is what the engine runs; `detectors` has the published alternatives.
"""
