"""insightface's detector and embedding where you have their files: SCRFD (arXiv:2105.04714) and ArcFace
(arXiv:1801.07698) as ONNX, in one folder as their packs are (`buffalo_l`: det_10g.onnx, w600k_r50.onnx).

No package ships them, and their licence is for research only. The decoding here follows insightface's public
description; what cannot be checked without the weights is how good they are.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from curate.models import Model, WeightsError
from stages import onnx

PREFIX = "insightface:"
DETECTOR = Model("SCRFD", "non-commercial research")
EMBEDDER = Model("ArcFace", "non-commercial research")
EMBEDDERS = ("w600k_r50.onnx", "w600k_mbf.onnx", "glintr100.onnx")
"""Of the packs buffalo_l and buffalo_m, buffalo_s and buffalo_sc, antelopev2."""
SIDE = 640
"""Of the square that SCRFD sees: the pack's default."""
STRIDES, ANCHORS = (8, 16, 32), 2
"""Pixels between its anchors at its three scales, and anchors at a place."""
LEAST, NMS = 0.5, 0.4
"""Score and intersection over union: insightface's defaults `det_thresh` and `nms_thresh`."""
CROP_PX = 112
POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)
"""Where ArcFace was trained to have the eyes, the nose and the corners of the mouth in its 112 x 112 px."""
DIMENSIONS = 512
LENGTH = 0.5
"""Length that vectors are given, so that Euclidean distances mean what they do for dlib's network, on which every
threshold of `face_tracks` and `people` is: dlib's own 0.6, at which pairs of LFW are told best, is then a cosine of
0.28, at which ArcFace tells them best (RobFR's table has 0.284, DeepFace's 0.32); 0.5 is a cosine of 0.5, 0.45 one of
0.6. None of them was checked on faces, for want of the weights."""


class Pack:
    """The two networks of a folder.

    Raises:
        WeightsError: a file is missing, or another network.
    """

    def __init__(self, folder: str) -> None:
        if wrong := missing(folder):
            raise WeightsError(wrong)
        detector, embedder = _files(folder)
        scales = [(None, n) for n in (1, 4, 10) for _ in STRIDES]
        seeker = onnx.opened(DETECTOR, str(detector), None, inputs=[(1, 3, None, None)], outputs=scales)
        shape = [(None, 3, CROP_PX, CROP_PX)]
        knower = onnx.opened(EMBEDDER, str(embedder), None, inputs=shape, outputs=[(None, DIMENSIONS)])
        self.name = f"{seeker.name}, {knower.name}"
        self._seek, self._know = seeker.session, knower.session

    def seen(self, rgb: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, float]]:
        """Each face of a picture (rows, columns, 3): corners x0, y0, x1, y1, five points (5, 2), px, and its score."""
        height, width = rgb.shape[:2]
        zoom = SIDE / max(height, width)
        small = cv2.resize(rgb, (max(1, round(width * zoom)), max(1, round(height * zoom))))
        shown = np.zeros((SIDE, SIDE, 3), np.uint8)
        shown[: small.shape[0], : small.shape[1]] = small
        answers = self._seek.run(None, {self._seek.get_inputs()[0].name: _batch(shown, 128.0)})
        boxes, points, scores = [], [], []
        for n, stride in enumerate(STRIDES):
            chances, edges, marks = (np.asarray(answers[n + 3 * k]) for k in range(3))
            side = SIDE // stride
            if len(chances) != side * side * ANCHORS:
                raise WeightsError(
                    f"{DETECTOR.name}: answers for {len(chances)} anchors at stride {stride}; another kind"
                )
            places = np.flatnonzero(chances[:, 0] >= LEAST)
            row, column = np.divmod(places // ANCHORS, side)
            centre = np.stack([column, row], 1).astype(np.float32) * stride
            far = edges[places] * stride
            boxes.append(np.hstack([centre - far[:, :2], centre + far[:, 2:]]) / zoom)
            points.append((centre[:, None] + marks[places].reshape(-1, 5, 2) * stride) / zoom)
            scores.append(chances[places, 0])
        corners, marks, chances = np.concatenate(boxes), np.concatenate(points), np.concatenate(scores)
        sides = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])
        kept = cv2.dnn.NMSBoxes(sides.tolist(), chances.tolist(), LEAST, NMS) if len(sides) else []
        return [(corners[n], marks[n], float(min(1.0, chances[n]))) for n in np.asarray(kept, int).ravel().tolist()]

    def embedding(self, crop: np.ndarray) -> np.ndarray:
        """(512,) float64 of length `LENGTH`, of an aligned face."""
        (vector,) = self._know.run(None, {self._know.get_inputs()[0].name: _batch(crop, 127.5)})[0]
        return np.asarray(vector, float) * LENGTH / max(float(np.linalg.norm(vector)), 1e-9)


def _batch(rgb: np.ndarray, scale: float) -> np.ndarray:
    """(1, 3, rows, columns) float32 about zero: both networks take RGB less 127.5."""
    return ((rgb.astype(np.float32) - 127.5) / scale).transpose(2, 0, 1)[None]


def aligned(rgb: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The face upright, (112, 112, 3) uint8: turned, scaled and moved so that its five points lie best on `POINTS`, in
    least squares (Umeyama, 1991)."""
    mine, theirs = points.mean(0), POINTS.mean(0)
    one, other = points - mine, POINTS - theirs
    left, sizes, right = np.linalg.svd(other.T @ one)
    flip = np.diag([1.0, np.sign(np.linalg.det(left @ right)) or 1.0])
    turn = left @ flip @ right
    zoom = float((sizes * np.diag(flip)).sum()) / max(float((one**2).sum()), 1e-9)
    matrix: Any = np.hstack([zoom * turn, (theirs - zoom * turn @ mine)[:, None]])
    return cv2.warpAffine(rgb, matrix, (CROP_PX, CROP_PX))


@lru_cache(maxsize=1)
def pack(folder: str) -> Pack:
    """The networks of a folder, loaded once a process."""
    return Pack(folder)


def _files(folder: str) -> tuple[Path | None, Path | None]:
    place = Path(folder).expanduser()
    embedder = next((place / name for name in EMBEDDERS if (place / name).is_file()), None)
    return next(iter(sorted(place.glob("det_*.onnx"))), None), embedder


def missing(folder: str) -> str | None:
    """What is not there that a run needs, with the cure."""
    detector, embedder = _files(folder)
    if detector is None or embedder is None:
        lacking = " and ".join(
            name for name, file in (("det_*.onnx", detector), (f"any of {', '.join(EMBEDDERS)}", embedder)) if not file
        )
        return f"{PREFIX}{folder}: the folder has not {lacking}; unpack insightface's buffalo_l there"
    return None
