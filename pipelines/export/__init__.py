"""A dataset in the layouts that other people's trainers read: `curate export DATASET LAYOUT -o DIR`.

A layout is a function of the takes and told spans (`taken`) that writes files into a folder (`folder`).
"""
