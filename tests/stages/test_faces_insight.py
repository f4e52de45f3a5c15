"""insightface's networks where they are given: decoding and alignment against known faces, with networks of the same
inputs and outputs. Its own weights are not here, so nothing is said of how well they find or tell people."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.models import WeightsError
from schemas import faces
from stages.faces import detect, insight, networks
from stages.faces.look import Look
from stages.faces.stage import FaceTracks
from tests.stages import tiny_onnx
from tests.stages.looking import inputs, run


def known(rgb):
    """The largest face of a picture: corners, five points and score, by libfacedetection and dlib."""
    (box, *_) = sorted(detect.found(rgb, "libfacedetection", 0.7, 20, 16), key=lambda box: -box.side)
    shape = networks.contours()(rgb, networks.dlib().rectangle(*box.square()))
    all_points = np.array([(p.x, p.y) for p in shape.parts()], np.float32)
    eyes = [all_points[36:42].mean(0), all_points[42:48].mean(0)]
    points = np.array([*eyes, all_points[30], all_points[48], all_points[54]])
    return np.array([box.x, box.y, box.x + box.width, box.y + box.height]), points, box.score


@pytest.fixture(scope="module")
def photo(footage):
    return cv2.cvtColor(cv2.imread(str(footage / "faces/obama/1.jpg")), cv2.COLOR_BGR2RGB)


def packed(folder, rgb, face):
    """A pack whose detector sees this face of the picture."""
    corners, points, score = face
    zoom = 640 / max(rgb.shape[:2])
    tiny_onnx.scrfd(folder / "det_10g.onnx", [(corners * zoom, points * zoom, score)])
    tiny_onnx.arcface(folder / "w600k_r50.onnx")
    return f"insightface:{folder}"


def test_a_face_is_decoded_where_it_is_and_once(photo, tmp_path):
    corners, points, score = known(photo)
    (box,) = detect.found(photo, packed(tmp_path, photo, (corners, points, score)), 0.5, 20, 16)
    assert np.allclose([box.x, box.y, box.x + box.width, box.y + box.height], corners, atol=0.5)
    assert np.allclose(box.points, points, atol=0.5)
    assert box.score == pytest.approx(score, abs=1e-3)


def test_a_face_is_upright_by_its_points_and_becomes_a_vector_on_dlibs_scale(photo, tmp_path):
    detector = packed(tmp_path, photo, known(photo))
    (box,) = detect.found(photo, detector, 0.5, 20, 16)
    look = Look(photo, box)
    assert look.chip.shape == (112, 112, 3)
    _, points, _ = known(cv2.copyMakeBorder(look.chip, 60, 60, 60, 60, cv2.BORDER_REPLICATE))
    assert np.abs(points - 60 - insight.POINTS).max() < 8
    assert look.embedding.shape == (512,)
    assert np.linalg.norm(look.embedding) == pytest.approx(0.5)
    turned = cv2.rotate(photo, cv2.ROTATE_90_CLOCKWISE)
    again = np.stack([photo.shape[0] - 1 - box.points[:, 1], box.points[:, 0]], 1)
    assert np.abs(insight.aligned(turned, again).astype(int) - look.chip).mean() < 3


@given(st.floats(-3, 3), st.floats(0.3, 4), st.floats(-200, 200), st.floats(-200, 200))
def test_alignment_undoes_any_turn_scale_and_shift(angle, zoom, x, y):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    points = (insight.POINTS @ turn.T * zoom + [x, y]).astype(np.float32)
    made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(insight.cv2, "warpAffine", lambda rgb, matrix, size: made.append(matrix))
        insight.aligned(np.zeros((8, 8, 3), np.uint8), points)
    (matrix,) = made
    assert np.allclose(points @ matrix[:, :2].T + matrix[:, 2], insight.POINTS, atol=0.05)
    assert np.linalg.det(matrix[:, :2]) > 0


def test_faces_are_followed_with_the_pack_and_the_row_names_its_files(photo, tmp_path):
    rgb = cv2.resize(photo, None, fx=640 / photo.shape[1], fy=640 / photo.shape[1])
    detector = packed(tmp_path, rgb, known(rgb))
    rows = run(FaceTracks(detector=detector), inputs([cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)] * 3))
    (row,) = rows
    assert len(row["embedding"]) == 512
    assert row["detections"] == 3
    assert row["model"].startswith("det_10g@")
    assert "w600k_r50@" in row["model"]
    assert set(faces.TRACKS.schema.names) >= set(row)


def test_what_is_not_there_or_another_network_is_told_with_the_cure(photo, tmp_path):
    (wrong,) = [told for _, told in FaceTracks(detector=f"insightface:{tmp_path}").faults({})]
    assert "buffalo_l" in wrong
    tiny_onnx.voice_embedder(tmp_path / "det_10g.onnx")
    tiny_onnx.arcface(tmp_path / "w600k_r50.onnx")
    with pytest.raises(WeightsError, match="another network"):
        insight.Pack(str(tmp_path))
    tiny_onnx.scrfd(tmp_path / "det_10g.onnx", [], anchors=1)
    with pytest.raises(WeightsError, match="anchors"):
        insight.Pack(str(tmp_path)).seen(photo)
    with pytest.raises(ValueError, match="detector"):
        FaceTracks(detector="retinaface")
