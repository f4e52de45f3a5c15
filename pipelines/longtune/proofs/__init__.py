"""Properties that must hold of every trained generator, each measured on the generator itself.

A proof is a function from a `Subject` to a `Proof`: `curate train verify` runs them on a checkpoint, the tests on a
toy. They need neither footage nor a GPU: frames of a few tokens and random prompts show a wrong mask or a leaking
gradient as well as a film does.
"""
