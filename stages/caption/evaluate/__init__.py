"""How good a dataset's captions are: with nothing to compare with, against a reference, and by questions.

Everything here takes rows or spans and gives numbers; the verbs beside it read the tables.
"""
