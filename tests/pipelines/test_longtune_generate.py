"""`curate generate`: prompts with times and typed ones, flat memory, eight bits, and a video that outlives a kill."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipelines.longtune.checkpoint import find_checkpoint
from pipelines.longtune.config import CausalConfig
from pipelines.longtune.errors import UsageError
from pipelines.longtune.generate_command import generate
from pipelines.longtune.prompts import Cue, TimedPrompts, TypedPrompts, read_cues, to_cues
from pipelines.longtune.quantize import quantize_int8
from pipelines.longtune.stream import CausalStream, stream_blocks
from pipelines.longtune.weights import load_generator
from tests.pipelines.longtune_run import make_run

ROOT = Path(__file__).parents[2]
APP = typer.Typer()
APP.command("generate")(generate)
APP.callback()(lambda: None)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


def invoke(*arguments: object):
    return CliRunner().invoke(APP, [str(argument) for argument in arguments])


def made(*arguments: object) -> dict:
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def lines(*texts: str) -> list[tuple[str, str]]:
    return [(f"line {number}", text) for number, text in enumerate(texts)]


def test_prompts_with_times_are_read(tmp_path):
    path = tmp_path / "script.txt"
    path.write_text("# a film\n\n0: a man walks\n 12.5:  he  sits down\n1:30: Scene 2: rain\n")
    assert read_cues(path) == [Cue(0, "a man walks"), Cue(12.5, "he sits down"), Cue(90, "Scene 2: rain")]
    assert to_cues(lines("Scene 2: rain")) == [Cue(0, "Scene 2: rain")]
    assert to_cues(lines("a bet at 3:1 odds", "4: won")) == [Cue(0, "a bet at 3:1 odds"), Cue(4, "won")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3: late", "script.txt:1: the first prompt starts at 3 s"),
        ("a\nb", "script.txt:2: a prompt at 0 s follows one at 0 s; write 'SECONDS: TEXT'"),
        ("0: a\n5: b\n# c\n4: c", "script.txt:4: a prompt at 4 s follows one at 5 s"),
        ("# nothing", "no prompt was given"),
    ],
)
def test_prompts_that_make_no_sense_are_named(tmp_path, text, message):
    (tmp_path / "script.txt").write_text(text)
    with pytest.raises(UsageError) as caught:
        read_cues(tmp_path / "script.txt")
    assert message in str(caught.value)
    (tmp_path / "script.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not a readable text file"):
        read_cues(tmp_path / "script.txt")


@given(st.lists(st.integers(1, 30), max_size=6, unique=True), st.integers(1, 7))
def test_a_block_has_the_latest_prompt_due(times, step):
    cues = [Cue(0, "0"), *(Cue(second, str(second)) for second in sorted(times))]
    prompts, now = TimedPrompts(cues), None
    for second in range(0, 40, step):
        now = prompts.at(second) or now
        assert now == max((cue for cue in cues if cue.second <= second), key=lambda cue: cue.second).text
    assert prompts.over


def test_typed_prompts_wait_for_the_first_and_take_the_latest():
    prompts = TypedPrompts(io.StringIO("one\n\ntwo\n three \n"), None)
    assert prompts.at(0) == "one"
    deadline = time.monotonic() + 10
    while prompts._typed.qsize() < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert (prompts.over, prompts.at(1), prompts.over) == (False, "three", True)
    assert TypedPrompts(io.StringIO("typed\n"), "given").at(0) == "given"
    with pytest.raises(UsageError, match="no prompt was typed"):
        TypedPrompts(io.StringIO("\n"), None).at(0)


def test_a_prompt_switches_at_the_next_block(run, tmp_path):
    """8 fps and blocks of 3 latents: they start at frames 0, 9, 21, 33."""
    script = tmp_path / "script.txt"
    script.write_text("0: a bar\n1.2: a ball\n")
    switched = made("generate", run, "--prompts", script, "-o", tmp_path / "a.mp4", "--seconds", 5)
    assert [(row["frame"], row["text"]) for row in switched["prompts"]] == [(0, "a bar"), (21, "a ball")]
    plain = made("generate", run, "--prompt", "a bar", "-o", tmp_path / "b.mp4", "--seconds", 5)
    assert (switched["frames"], plain["frames"]) == (40, 40)
    told = made(
        *("generate", run, "--prompt", "a bar", "--prompt", "1.2: a ball", "-o", tmp_path / "c.mp4", "--seconds", 5)
    )
    assert told["prompts"] == switched["prompts"]
    a, b, c = (frames(tmp_path / f"{name}.mp4") for name in "abc")
    assert np.array_equal(a[:21], b[:21])
    assert not np.array_equal(a[21:], b[21:])
    assert np.array_equal(a, c)


def test_typed_lines_steer_a_video_while_it_is_made(run, tmp_path, monkeypatch, capsys):
    """What was typed and when is told; the same as a script gives the same video. Without a length, stdin ends it."""
    curve = tmp_path / "curve.jsonl"
    read, write = os.pipe()

    def wait(blocks: int) -> None:
        deadline = time.monotonic() + 60
        while not curve.exists() or curve.read_text().count("\n") < blocks:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def type_a_line() -> None:
        with open(write, "w") as keyboard:
            wait(2)
            print("a ball", file=keyboard, flush=True)
            wait(curve.read_text().count("\n") + 3)

    with open(read) as stdin, ThreadPoolExecutor(1) as person:
        monkeypatch.setattr(sys, "stdin", stdin)
        typing = person.submit(type_a_line)
        words = ("generate", run, "--interactive", "--prompt", "a bar", "-o", tmp_path / "a.mp4", "--curve", curve)
        APP([*map(str, words), "--json"], standalone_mode=False)
        typing.result()
    typed = json.loads(capsys.readouterr().out)
    assert [row["text"] for row in typed["prompts"]] == ["a bar", "a ball"]
    assert typed["prompts"][1]["frame"] >= 21
    script = tmp_path / "script.txt"
    script.write_text("".join(f"{row['second']}: {row['text']}\n" for row in typed["prompts"]))
    again = made("generate", run, "--prompts", script, "-o", tmp_path / "b.mp4", "--seconds", typed["frames"] / 8)
    assert again["prompts"] == typed["prompts"]
    assert np.array_equal(frames(tmp_path / "a.mp4"), frames(tmp_path / "b.mp4"))


def test_memory_does_not_grow_with_length(run, tmp_path):
    """600 frames: from the block that fills the window on, the cache is of one size; the process grows by little."""
    curve = tmp_path / "curve.jsonl"
    facts = made(
        *("generate", run, "--prompt", "a bar", "-o", tmp_path / "a.mp4", "--seconds", 75, "--steps", 1),
        *("--curve", curve),
    )
    rows = [json.loads(line) for line in curve.read_text().splitlines()]
    assert (facts["frames"], facts["blocks"], len(rows)) == (600, 51, 51)
    assert len({row["cache_bytes"] for row in rows[2:]}) == 1
    assert facts["cache_bytes"]["last"] == rows[-1]["cache_bytes"]
    assert rows[-1]["rss_bytes"] - rows[10]["rss_bytes"] < 20e6
    assert facts["peak_rss_bytes"] >= rows[-1]["rss_bytes"] * 0.9
    assert set(facts["block_s"]) == {"first", "last"}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_a_killed_video_plays_up_to_its_last_second(run, tmp_path):
    command = [
        sys.executable,
        "-c",
        "import typer; from pipelines.longtune.generate_command import *; typer.run(generate)",
    ]
    curve = tmp_path / "curve.jsonl"
    command += [str(run), "--prompt", "a bar", "-o", str(tmp_path / "a.mp4"), "--seconds", "600", "--curve", str(curve)]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not (curve.exists() and curve.read_text().count("\n") >= 6):
            time.sleep(0.005)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "a.mp4").exists()
    written = json.loads(curve.read_text().splitlines()[5])["frames"]
    assert len(frames(tmp_path / "a.partial.mp4")) >= written - 16


def test_guidance_changes_the_video_and_doubles_the_cache(run, tmp_path):
    plain = made("generate", run, "--prompt", "a bar", "-o", tmp_path / "a.mp4")
    guided = made("generate", run, "--prompt", "a bar", "-o", tmp_path / "b.mp4", "--guidance", 5)
    assert guided["cache_bytes"]["last"] == 2 * plain["cache_bytes"]["last"]
    assert not np.array_equal(frames(tmp_path / "a.mp4"), frames(tmp_path / "b.mp4"))
    wrong = invoke("generate", run, "--prompt", "a bar", "-o", tmp_path / "b.mp4", "--guidance", 0.5)
    assert (wrong.exit_code, "sample.guidance" in wrong.stderr) == (2, True)


def test_eight_bits_stay_near_and_flat(run, tmp_path):
    pytest.importorskip("torchao")
    facts = made("generate", run, "--prompt", "a bar", "-o", tmp_path / "a.mp4", "--int8", "--seconds", 3)
    assert facts["int8"]
    generator = load_generator(find_checkpoint(run))
    model, text = generator.transformer.eval(), torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(0))

    def streamed() -> torch.Tensor:
        layout = CausalConfig(block=3, window=6, sink=1)
        stream = CausalStream(model, text, layout, rng=torch.Generator().manual_seed(0))
        made = stream_blocks(stream, (1, 4, 3, 4, 4), 4, 5.0)
        return torch.cat([block for _, block in zip(range(6), made, strict=False)], dim=2)

    before = streamed()
    assert quantize_int8(model) == 2 * (4 + 4 + 2)
    after = streamed()
    assert 0 < (after - before).norm() / before.norm() < 0.01


def test_a_window_is_learnt_while_the_video_is_made(run, tmp_path):
    arguments = ("--prompt", "a bar", "--seconds", 8, "--steps", 1, "--seed", 3)
    plain = made("generate", run, *arguments, "-o", tmp_path / "a.mp4")
    learnt = made("generate", run, *arguments, "-o", tmp_path / "b.mp4", "--temp-lora", 4)
    a, b = frames(tmp_path / "a.mp4"), frames(tmp_path / "b.mp4")
    assert len(a) == len(b) == plain["frames"] == learnt["frames"] == 64
    assert np.array_equal(a[:45], b[:45])  # four blocks, the first window, are as they would have been
    both = invoke("generate", run, *arguments, "-o", tmp_path / "b.mp4", "--temp-lora", 4, "--int8")
    assert (both.exit_code, "leave out --int8" in both.stderr) == (2, True)
    none = invoke("generate", run, *arguments, "-o", tmp_path / "b.mp4", "--temp-lora", 0)
    assert (none.exit_code, "sample.temp_lora.rank" in none.stderr) == (2, True)


def test_without_torchao_eight_bits_are_refused(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    result = invoke("generate", run, "--prompt", "a bar", "-o", tmp_path / "a.mp4", "--int8")
    assert (result.exit_code, "pip install 'longtake[train]'" in result.stderr) == (1, True)
    assert not (tmp_path / "a.mp4").exists()


def test_a_video_beyond_its_positions_is_refused_at_once(tmp_path):
    absolute = make_run(tmp_path / "run", positions="absolute")
    result = invoke("generate", absolute, "--prompt", "a", "-o", tmp_path / "a.mp4", "--seconds", 600)
    assert (result.exit_code, "4800 frames are more than the 4089 (511 s)" in result.stderr) == (2, True), result.stderr
    assert not (tmp_path / "a.mp4").exists()


def test_unclear_prompts_are_wrong_use(run, tmp_path):
    out = ("-o", tmp_path / "a.mp4")
    for arguments, message in [
        ((), "no prompt was given"),
        (("--prompt", "a", "--prompt", "b"), "--prompt: a prompt at 0 s follows one at 0 s"),
        (("--prompts", tmp_path / "x", "--prompt", "a"), "leave out --prompt"),
        (("--interactive", "--prompt", "a", "--prompt", "4: b"), "--interactive takes one --prompt"),
        (("--prompts", tmp_path / "nowhere"), "not a readable text file of prompts"),
        (("--prompt", "a", "--seconds", "0"), "give a length above 0"),
    ]:
        result = invoke("generate", run, *arguments, *out)
        assert (result.exit_code, message in result.stderr) == (2, True), (result.stderr, message)
        assert "Traceback" not in result.output
