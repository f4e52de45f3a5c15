"""The sample film against its own truth: what film.json says must be what the pixels and the sound show."""

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import typer
import yaml
from typer.testing import CliRunner

from pipelines.filmmaker.film import Film, film_take
from pipelines.filmmaker.scenes import SCENES
from pipelines.filmmaker.storyboard import Storyboard, StoryboardError, bundled, read_storyboard
from pipelines.filmmaker.voice import SAMPLE_RATE, record
from pipelines.sample import make_sample, sample

SHORT = {
    "takes": [
        {"name": "table", "scene": "still_life", "description": "still", "seconds": 0.8, "seed": 1},
        {
            "name": "night", "scene": "city", "description": "dark", "seconds": 1.6, "seed": 2, "flash_at_s": [0.4],
            "speech": [{"voice": "low", "start_s": 0.1, "end_s": 1.2}],
        },
        {
            "name": "water", "scene": "reef", "description": "fish", "seconds": 1.8, "seed": 3,
            "enter": {"kind": "dissolve", "seconds": 0.4},
        },
        {
            "name": "dusk", "scene": "birds", "description": "birds", "seconds": 1.2, "seed": 4,
            "enter": {"kind": "fade", "seconds": 0.8},
        },
    ]
}  # fmt: skip


class Copy:
    """A film on disk: its folder, truth, sound, and decoded frames: RGB, each pixel the mean of 8 x 8.

    So small, a hand-held camera hardly changes a frame, while a cut or a flash changes it as much as ever.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.truth = json.loads((folder / "film.json").read_text())
        with av.open(str(folder / "film.mp4")) as container:
            self.video_s = float(container.streams.video[0].duration * container.streams.video[0].time_base)
            whole = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
            self.frames = [cv2.resize(frame, (80, 45), interpolation=cv2.INTER_AREA).astype(float) for frame in whole]
            self.size = (container.streams.video[0].width, container.streams.video[0].height)
        with av.open(str(folder / "film.mp4")) as container:
            self.sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])

    def step(self, number: int) -> float:
        """Mean absolute difference, in grey levels, between a frame and the one before it."""
        return float(np.abs(self.frames[number] - self.frames[number - 1]).mean())


@pytest.fixture(scope="module")
def board() -> Storyboard:
    return Storyboard.model_validate(SHORT)


@pytest.fixture(scope="module")
def short(board: Storyboard, tmp_path_factory: pytest.TempPathFactory) -> Copy:
    folder = tmp_path_factory.mktemp("new") / "film"
    assert make_sample(folder, board)
    return Copy(folder)


@pytest.fixture
def storyboard_file(tmp_path: Path) -> Path:
    path = tmp_path / "board.yaml"
    path.write_text(yaml.safe_dump(SHORT))
    return path


@pytest.fixture
def run() -> Callable[..., Any]:
    app = typer.Typer()
    app.command("sample")(sample)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def pitch_hz(sound: np.ndarray) -> float:
    """The strongest period of some 50 ms of sound, by autocorrelation, which favours the shortest of its multiples."""
    match = np.fft.irfft(np.abs(np.fft.rfft(sound, 2 * len(sound))) ** 2)
    shortest, longest = SAMPLE_RATE // 320, SAMPLE_RATE // 75
    return SAMPLE_RATE / (shortest + int(np.argmax(match[shortest:longest])))


def check_truth(copy: Copy) -> None:
    """Everything that must hold of any film: counts, cuts, flashes, fades to black, nothing sudden elsewhere."""
    truth = copy.truth
    assert len(copy.frames) == truth["frames"]
    assert copy.size == (640, 360)
    assert copy.video_s == pytest.approx(truth["frames"] / truth["fps"])
    # AAC comes in packets of 1024 samples, so the last one may be padded.
    assert len(copy.sound) / SAMPLE_RATE == pytest.approx(copy.video_s, abs=1024 / SAMPLE_RATE)
    sudden = set()
    for change in truth["transitions"]:
        if change["kind"] == "cut":
            assert change["start"] == change["end"]
            assert copy.step(change["start"]) > 25
            sudden.add(change["start"])
        if change["kind"] == "fade":
            means = [copy.frames[number].mean() for number in range(change["start"], change["end"])]
            lowest = int(np.argmin(means))
            assert means[lowest] < 2
            assert np.all(np.diff(means[: lowest + 1]) < 1)
            assert np.all(np.diff(means[lowest:]) > -1)
    for number in truth["flashes"]:
        before, lit, after = (copy.frames[number + offset] for offset in (-1, 0, 1))
        assert lit.mean() > before.mean() + 60
        assert np.abs(before - after).mean() < 8
        sudden |= {number, number + 1}
    assert max(copy.step(number) for number in range(1, truth["frames"]) if number not in sudden) < 20


def test_truth_agrees_with_the_pixels(short: Copy) -> None:
    check_truth(short)
    assert short.truth["transitions"] == [
        {"start": 20, "end": 20, "kind": "cut"},
        {"start": 50, "end": 60, "kind": "dissolve"},
        {"start": 85, "end": 105, "kind": "fade"},
    ]
    assert [(shot["start"], shot["end"]) for shot in short.truth["shots"]] == [(0, 20), (20, 60), (50, 95), (95, 125)]
    assert short.truth["flashes"] == [30]


def test_a_dissolve_is_the_blend_of_its_two_takes() -> None:
    first = SHORT["takes"][1] | {"seconds": 0.8, "flash_at_s": [], "speech": []}
    board = Storyboard.model_validate({"takes": [first, SHORT["takes"][2]]})
    night, water = (list(islice(film_take(take), 20)) for take in board.takes)
    frames = list(islice(Film(board).frames(), 21))
    for offset in range(10):
        share = (offset + 1) / 11
        blend = night[10 + offset] * (1 - share) + water[offset] * share
        assert np.abs(frames[10 + offset] - blend).max() <= 1
    assert np.array_equal(frames[9], night[9])
    assert np.array_equal(frames[20], water[10])


def test_speech_is_loud_where_the_truth_says_and_nowhere_else(short: Copy) -> None:
    level = np.sqrt(np.convolve(short.sound**2, np.full(2400, 1 / 2400), "same"))
    spoken = np.zeros(len(short.sound), bool)
    for part in short.truth["speech"]:
        spoken[round(part["start_s"] * SAMPLE_RATE) : round(part["end_s"] * SAMPLE_RATE)] = True
    assert 0.9 < spoken.sum() / SAMPLE_RATE < 1.2
    assert np.median(level[spoken]) > 10 * np.median(level[~spoken])
    assert np.abs(short.sound).max() < 1


def test_the_two_voices_differ_in_pitch() -> None:
    pitches = {}
    for voice in ("low", "high"):
        speech = [{"voice": voice, "start_s": 0.0, "end_s": 2.0}]
        sound, _ = record(
            Film(Storyboard.model_validate({"takes": [SHORT["takes"][0] | {"seconds": 2, "speech": speech}]}))
        )
        pitches[voice] = np.median([pitch_hz(part) for part in np.array_split(sound, 40)])
    assert 80 < pitches["low"] < 150 < pitches["high"] < 280


def test_a_second_run_does_nothing_and_a_damaged_film_is_made_again_the_same(
    run, short: Copy, storyboard_file: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(short.folder, tmp_path / "film")
    before = (folder / "film.mp4").stat().st_mtime_ns
    second = run(folder, "--storyboard", storyboard_file)
    assert second.exit_code == 0
    assert "nothing to do" in second.stdout
    assert f"curate run long_take -i {folder} -o DATASET" in second.stdout
    assert (folder / "film.mp4").stat().st_mtime_ns == before
    (folder / "film.mp4").write_bytes((folder / "film.mp4").read_bytes()[:-100])
    again = run(folder, "--storyboard", storyboard_file, "--json")
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout)["written"] is True
    for name in ("film.mp4", "film.json"):
        assert (folder / name).read_bytes() == (short.folder / name).read_bytes()
    assert sorted(os.listdir(folder)) == ["film.json", "film.mp4"]


def test_a_film_of_somebody_else_is_left_alone(run, storyboard_file: Path, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"holiday")
    result = run(tmp_path, "--storyboard", storyboard_file)
    assert result.exit_code == 1
    assert "--force" in result.stderr
    assert (tmp_path / "film.mp4").read_bytes() == b"holiday"


def test_a_file_is_not_a_directory(run, storyboard_file: Path) -> None:
    result = run(storyboard_file, "--storyboard", storyboard_file)
    assert result.exit_code == 1
    assert "is a file" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scene": "moon"}, "no scene is called 'moon'"),
        ({"colour": "red"}, "takes.0.colour"),
        ({"enter": {"kind": "dissolve", "seconds": 1}}, "nothing comes before the first take"),
        ({"flash_at_s": [9]}, "flash comes after"),
        ({"speech": [{"voice": "low", "start_s": 0.1, "end_s": 3}]}, "speech must start before"),
        ({"name": "night"}, "same name"),
        ({"seconds": "long"}, "takes.0.seconds"),
    ],
)
def test_a_bad_storyboard_is_refused(change: dict, message: str, run, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump({"takes": [SHORT["takes"][0] | change, *SHORT["takes"][1:]]}))
    with pytest.raises(StoryboardError, match=message):
        read_storyboard(path)
    result = run(tmp_path / "film", "--storyboard", path)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "film").exists()


@pytest.mark.parametrize("text", ["takes: [", "", "just words", "\x00"])
def test_what_is_no_storyboard_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(StoryboardError, match=r"bad\.yaml"):
        read_storyboard(tmp_path / "bad.yaml")


def test_a_missing_storyboard_is_named(run, tmp_path: Path) -> None:
    result = run(tmp_path / "film", "--storyboard", tmp_path / "none.yaml")
    assert result.exit_code == 1
    assert "cannot read the storyboard" in result.stderr


def test_transitions_must_leave_some_of_a_take(board: Storyboard) -> None:
    takes = [*SHORT["takes"][:2], SHORT["takes"][2] | {"enter": {"kind": "dissolve", "seconds": 1.5}}]
    with pytest.raises(ValueError, match="night: its transitions leave less"):
        Storyboard.model_validate({"takes": takes})


def test_a_full_disk_is_one_line_and_leaves_nothing(storyboard_file: Path, tmp_path: Path) -> None:
    code = "import typer; from pipelines.sample import sample; typer.run(sample)"
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "film"), "--storyboard", str(storyboard_file)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "cannot write the sample film" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert list((tmp_path / "film").iterdir()) == []


def test_the_bundled_storyboard_has_what_the_pipeline_must_meet() -> None:
    film = Film(read_storyboard(bundled()))
    assert 60 <= film.frame_count / 25 <= 75
    assert {change.kind for change in film.transitions} == {"cut", "dissolve", "fade"}
    assert sum(shot.end - shot.start > 250 for shot in film.shots) >= 3
    assert any(shot.end - shot.start < 125 for shot in film.shots)
    assert len(film.flashes) == 1
    assert {part.voice for shot in film.shots for part in shot.take.speech} == {"low", "high"}


def test_the_bundled_takes_are_calm_and_part_at_their_cuts() -> None:
    """A pair of frames every two seconds of each, and both sides of each cut; how takes are joined is shown above."""

    def small(scene: Any, index: int) -> np.ndarray:
        return cv2.resize(255 * scene.frame(index), (80, 45), interpolation=cv2.INTER_AREA)

    last = None
    for take in read_storyboard(bundled()).takes:
        scene = SCENES[take.scene](np.random.default_rng(take.seed).spawn(2)[0], take.frames)
        if last is not None and take.enter.kind == "cut":
            assert np.abs(small(scene, 0) - last).mean() > 25
        for index in range(0, take.frames - 1, 50):
            assert np.abs(small(scene, index + 1) - small(scene, index)).mean() < 20
        last = small(scene, take.frames - 1)
