"""The engine of Longtake: recipes, runs on Dask, the dataset directory, and media decoding.

It knows no stage by name: stages, recipes and verbs are found through entry points.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("longtake")
except PackageNotFoundError:  # a bare source tree on the path
    __version__ = "0+unknown"
