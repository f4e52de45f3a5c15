"""`curate generate --after … --before …`: given ends stay, what is between is made, and wrong use is told."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.longtune.between import _clip, _given
from pipelines.longtune.checkpoint import find_checkpoint, read_config
from pipelines.longtune.vae import StreamingDecoder, encode, to_bytes, to_pixels
from pipelines.longtune.weights import load_generator
from stages.latents.pictures import fit
from tests.pipelines.longtune_run import make_run
from tests.pipelines.test_longtune_generate import frames, invoke

MASKS = {"name": "random_masks", "attention": "bidirectional"}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"), MASKS)


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("ends") / "end [1].png"
    Image.fromarray(np.full((48, 40, 3), (200, 40, 90), np.uint8)).save(path)
    return path


def seen_through_the_vae(run, clip):
    """What the given frames look like once encoded and decoded."""
    vae = load_generator(find_checkpoint(run)).to(torch.device("cpu")).vae
    latents = encode(vae, to_pixels(torch.from_numpy(clip).permute(3, 0, 1, 2)[None]))
    decoder = StreamingDecoder(vae)
    pixels = torch.cat([decoder.decode(latent) for latent in latents.split(1, dim=2)], dim=2)
    return to_bytes(pixels)[0].permute(1, 2, 3, 0).numpy()


def test_a_clip_goes_on_from_a_real_video(footage, run, tmp_path):
    film, out = footage / "footage/takes/yoga.mp4", tmp_path / "made.mp4"
    result = invoke("generate", run, "--prompt", "she goes on", "--after", film, "-o", out, "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["frames"], told["given"]) == (33, [13, 0])
    video = frames(out)
    first, last = _given(read_config(find_checkpoint(run)), film, None, 4)
    assert last == []
    wanted = seen_through_the_vae(run, _clip(first, last, 33))[:13]
    assert np.abs(video[:13].astype(int) - wanted).mean() < 8  # H.264 halves the colours of 32 pixels
    with av.open(str(film)) as container:
        shown = [fit(frame, 32, 32).astype(int) for frame in container.decode(video=0)]
    nearest = min(range(len(shown)), key=lambda n: np.abs(shown[n] - first[-1]).mean())
    assert nearest > len(shown) - 8  # from where the film ends, at 8 frames a second


def test_a_transition_has_both_ends_and_a_picture_will_do(run, picture, tmp_path):
    out = tmp_path / "made.mp4"
    result = invoke(
        "generate", run, "--prompt", "a change", "--after", picture, "--before", picture, "-o", out, "--json"
    )
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["given"] == [1, 4]
    assert len(frames(out)) == 33


def test_wrong_use_is_told(run, picture, tmp_path):
    other = make_run(tmp_path / "other")
    text = tmp_path / "text.png"
    text.write_text("#EXTM3U\nhttp://127.0.0.1/x.ts\n")
    out = ("-o", tmp_path / "made.mp4", "--prompt", "x")
    for words, told in (
        ((other, "--after", picture, *out), "trained by teacher_forcing"),
        ((run, "--after", tmp_path / "gone.mp4", *out), "cannot be read"),
        ((run, "--after", text, *out), "cannot be read"),
        ((run, "--after", picture, "--seconds", "3", *out), "one clip of the trained length"),
    ):
        result = invoke("generate", *words)
        assert result.exit_code == 2
        assert told in result.stderr
    assert not (tmp_path / "made.mp4").exists()
