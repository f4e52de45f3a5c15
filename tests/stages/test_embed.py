"""Embeddings of real stills by an open_clip network of random weights, saved and loaded as a trained one is."""

import json
import pickle

import cv2
import numpy as np
import pyarrow as pa
import pytest
import torch

from curate.dataset import to_arrow
from curate.models import WeightsError
from schemas import clips, embeddings, stills
from stages.embed import CONFIG, Embed, network

VISION = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
CLIP = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT}


def saved(folder, seed=0, spoil=None):
    """A folder as open_clip saves a network for the hub."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    model = open_clip.CLIP(**CLIP)
    if spoil:
        spoil(model)
    folder.mkdir()
    (folder / CONFIG).write_text(json.dumps({"model_cfg": CLIP, "preprocess_cfg": {"size": 32}}))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture(scope="module")
def pictures(footage):
    names = ("panda_s1.mp4", "pancake.mkv", "cockatoo.mp4")
    return [still for name in names for still in seen(footage / "footage/takes" / name, 4)]


def seen(path, count):
    video = cv2.VideoCapture(str(path))
    found = []
    for _ in range(count):
        picture = video.read()[1]
        for _ in range(25):
            video.grab()
        found.append(cv2.imencode(".jpg", picture)[1].tobytes())
    video.release()
    return found


def clip(number, start_s, end_s, **more):
    zeros = {f.name: 0 for f in clips.TABLE.schema if not f.nullable}
    times = {"start_s": start_s, "end_s": end_s, "duration_s": end_s - start_s, "long_enough": True}
    return {**zeros, "clip_id": f"c{number}", "source_id": "s", "detectors": "", "still": [], **times, **more}


def run(stage, rows, pictures, screening=None):
    inputs = {
        "clips": to_arrow(clips.TABLE, rows),
        "stills": to_arrow(
            stills.TABLE,
            [
                {"source_id": "s", "frame": n, "pts": n, "t_s": float(n), "width": 1, "height": 1, "jpeg": jpeg}
                for n, jpeg in enumerate(pictures)
            ],
        ),
    }
    if screening is not None:
        inputs["screening"] = pa.table({"clip_id": list(screening), "kept": list(screening.values())})
    found = list(stage.run(inputs, None))
    return to_arrow(embeddings.TABLE, found).to_pylist()


def test_a_clip_has_a_vector_for_each_still_and_their_mean(weights, pictures):
    rows = run(Embed(weights=str(weights), stills=3), [clip(0, 0, 4), clip(1, 4, 5), clip(2, 11.2, 11.9)], pictures)
    assert rows[0]["stills_s"] == [0.0, 2.0, 3.0]
    vectors = np.array(rows[0]["vectors"])
    assert vectors.shape == (3, 16)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    mean = vectors.mean(0)
    assert rows[0]["vector"] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    assert rows[0]["model"] == rows[1]["model"]
    assert rows[0]["model"].startswith("open_clip:")
    assert rows[1]["vectors"] == [rows[1]["vector"]] or np.allclose(rows[1]["vectors"][0], rows[1]["vector"], atol=1e-6)
    assert (rows[2]["vector"], rows[2]["unmeasured"]) == (None, "no still lies inside the clip")


def test_the_network_sees_the_colours_as_they_are(weights, pictures):
    import open_clip
    from PIL import Image

    bgr = cv2.imdecode(np.frombuffer(pictures[0], np.uint8), cv2.IMREAD_COLOR)
    model, _, prepare = open_clip.create_model_and_transforms(f"local-dir:{weights}")
    with torch.inference_mode():
        wanted = model.eval().encode_image(prepare(Image.fromarray(bgr[..., ::-1].copy()))[None], normalize=True)
    assert network(str(weights), None).embed([bgr])[0] == pytest.approx(wanted[0].numpy(), abs=1e-5)


def test_only_the_clips_worth_it_are_looked_at(weights, pictures):
    rows = [clip(0, 0, 4), clip(1, 4, 8, long_enough=False)]
    stage = Embed(weights=str(weights))
    assert [r["unmeasured"] for r in run(stage, rows, pictures)] == [None, "not looked at: shorter than a long take"]
    told = run(stage, rows, pictures, {"c0": False, "c1": True})
    assert [r["unmeasured"] for r in told] == ["not looked at: screening turned the clip down", None]


def test_without_weights_there_is_no_vector(pictures):
    (row,) = run(Embed(), [clip(0, 0, 4)], pictures)
    assert (row["vector"], row["vectors"], row["model"]) == (None, None, None)
    assert "embed.weights" in row["unmeasured"]


def test_a_network_that_answers_nan_gives_null_and_says_so(tmp_path, pictures):
    def spoil(model):
        model.visual.proj.data[:] = float("nan")

    folder = saved(tmp_path / "nan", spoil=spoil)
    (row,) = run(Embed(weights=str(folder)), [clip(0, 0, 4)], pictures)
    assert (row["vector"], row["vectors"]) == (None, None)
    assert "NaN" in row["unmeasured"]


def test_weights_that_do_not_fit_are_refused(tmp_path, weights, pictures):
    with pytest.raises(WeightsError, match="no weights at"):
        run(Embed(weights=str(tmp_path / "none")), [clip(0, 0, 4)], pictures)
    with pytest.raises(WeightsError, match="another file, or damaged"):
        run(Embed(weights=str(weights), weights_sha256="0" * 64), [clip(0, 0, 4)], pictures)
    other = saved(tmp_path / "other")
    (other / CONFIG).write_text(json.dumps({"model_cfg": {**CLIP, "embed_dim": 24}}))
    with pytest.raises(WeightsError, match="cannot be loaded"):
        run(Embed(weights=str(other)), [clip(0, 0, 4)], pictures)
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / CONFIG).write_text((weights / CONFIG).read_text())
    (pickled / "open_clip_model.pt").write_bytes(pickle.dumps({}))
    with pytest.raises(WeightsError, match=r"one \.safetensors file; it holds"):
        run(Embed(weights=str(pickled)), [clip(0, 0, 4)], pictures)
