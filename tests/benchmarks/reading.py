"""What the trainer's reader costs: `python tests/benchmarks/reading.py [--footage DIR] [--steps N]`.

Throughput: windows a second of CPU through the trainer's loader, in one process, over windows a second of a bare loop
that reads the same members off the tar with `tarfile`, seeks in the whole mp4 and decodes and scales the same pictures.
Takes that cannot be decoded from their keyframes (cockatoo.mp4 refreshes its pictures bit by bit) are left out: the
bare loop would be quick and wrong there.
Data wait: the share of a training step spent waiting for data with two decoding processes, in a real run of the bundled
`tiny` config with shorter stages, after the first steps; on a machine that does anything else at the time, it says more
about that. Floors: 0.9 and 5 %.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import yaml
from films import footage_root

from pipelines.longtune.config import CausalConfig, DataConfig, load_config
from pipelines.longtune.data.index import build_index
from pipelines.longtune.data.loader import Cursor, open_batches
from pipelines.longtune.data.order import Order

DATA = DataConfig(frames=33, fps=8, height=64, width=64, num_workers=0)
LAYOUT = CausalConfig(block=3, window=6, sink=1)
SEED = 0
FIRST_STEPS = 5
"""Steps left out: the decoding processes are still starting."""


def shard(takes: list[Path], folder: Path) -> Path:
    """A shard of the takes, whose .json says what `pack` says of length and size."""
    path = folder / "train" / "000000.tar"
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w") as tar:
        for take in takes:
            with av.open(str(take)) as container:
                stream = container.streams.video[0]
                seconds = float(stream.duration * stream.time_base)
                told = {"duration_s": seconds, "width": stream.width, "height": stream.height}
            members = {"json": json.dumps(told).encode(), "mp4": take.read_bytes(), "txt": b"a long take"}
            for extension, data in members.items():
                info = tarfile.TarInfo(f"{take.stem}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def seekable(take: Path) -> bool:
    """Whether pictures come out sound behind each keyframe."""
    with av.open(str(take)) as container:
        keys = [packet.pts for packet in container.demux(video=0) if packet.is_keyframe and packet.pts is not None]
    for pts in keys:
        with av.open(str(take)) as container:  # a decoder remembers over a seek that it had sound pictures
            container.seek(pts, stream=container.streams.video[0])
            sound = [not frame.is_corrupt for frame in itertools.islice(container.decode(video=0), 20)]
        if not all(sound[5:]):  # the first few may lean on what was before the keyframe
            return False
    return True


def ours(path: Path, number: int) -> tuple[int, float]:
    """The windows of a pass, and the CPU seconds they took, index and all."""
    before = time.process_time()
    index = build_index([path])
    count = len(index.takes)
    batches = open_batches(index, DATA, LAYOUT, seed=SEED, cursor=Cursor(number, (number * count,)))
    windows = sum(int(next(batches).target.any()) for _ in range(count))
    return windows, time.process_time() - before


def bare(path: Path, number: int) -> tuple[int, float]:
    """The same by the shortest loop there is."""
    count = len(build_index([path]).takes)
    plan = next(Order([range(count)], SEED).plans(Cursor(number, (number * count,)), count))
    places = {draw.take: draw.place for draw in plan.draws}
    before = time.process_time()
    windows = taken = 0
    with tarfile.open(path) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None and member.name.endswith(".mp4"):
                key = f"{path.name}:{Path(member.name).stem}"
                windows += decoded(file.read(), random.Random(f"{SEED}/{number}/{places[taken]}/{key}"))
                taken += 1
    return windows, time.process_time() - before


def decoded(mp4: bytes, rng: random.Random) -> int:
    """1 if a window was decoded; its place is drawn as the loader draws it."""
    step = Fraction(1, int(DATA.fps))
    with av.open(io.BytesIO(mp4)) as container:
        stream = container.streams.video[0]
        base = Fraction(stream.time_base)
        latest = stream.duration * base - step * (DATA.frames - 1) - base
        if latest < 0:
            return 0
        start = rng.randrange(int(latest / base) + 1) * base + (stream.start_time or 0) * base
        container.seek(int(start / base), stream=stream)
        pictures: list[np.ndarray] = []
        for frame in container.decode(stream):
            if frame.pts * base >= start + step * len(pictures):
                scale = max(DATA.width / frame.width, DATA.height / frame.height)
                size = round(frame.width * scale), round(frame.height * scale)
                image = frame.reformat(*size, format="rgb24", interpolation="AREA").to_ndarray()
                pictures.append(image[: DATA.height, : DATA.width])
            if len(pictures) == DATA.frames:
                break
        return int(np.stack(pictures).any())


def waited(folder: Path, steps: int) -> float:
    """The share of the steps' time that a real run waited for data, with two decoding processes."""
    values = load_config("tiny").to_json()
    values["data"]["num_workers"] = 2
    values["train"] |= {"vae_steps": 2, "steps": steps, "checkpoint_every": steps}
    values["sample"] |= {"seconds": 1, "steps": 1}
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    command = [str(Path(sys.executable).with_name("curate")), "train", str(folder / "config.yaml")]
    run = folder / "run"
    subprocess.run([*command, "--shards", str(folder), "-o", str(run)], check=True, stdout=subprocess.DEVNULL)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    counted = [row for row in rows if row["stage"] == "transformer"][FIRST_STEPS:]
    return sum(row["data_wait"] * row["seconds"] for row in counted) / sum(row["seconds"] for row in counted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--footage", type=Path)
    parser.add_argument("--passes", type=int, default=5, help="windows of each take")
    parser.add_argument("--steps", type=int, default=40, help="training steps; 0 leaves the run out")
    given = parser.parse_args()
    found = sorted((footage_root(given.footage) / "takes").glob("*.mp4"))
    takes = [take for take in found if seekable(take)]
    print(f"{len(takes)} takes; left out: {', '.join(take.name for take in found if take not in takes) or 'none'}")
    with tempfile.TemporaryDirectory() as name:
        path = shard(takes, Path(name))
        bare(path, 0)  # warms the page cache and the decoders
        rates = {bare: [], ours: []}
        for number in range(given.passes):  # in turn, so that what else the machine does weighs on both alike
            for reader, seen in rates.items():
                windows, seconds = reader(path, number)
                seen.append(windows / seconds)
        for reader, seen in rates.items():
            print(f"{reader.__name__}: {statistics.median(seen):.2f} windows a second of CPU")
        ratio = statistics.median(mine / theirs for mine, theirs in zip(rates[ours], rates[bare], strict=True))
        print(f"throughput: {ratio:.2f} of the bare loop (floor 0.90), median of {given.passes} passes")
        if given.steps:
            print(f"data wait: {waited(Path(name), given.steps):.1%} of a step, two decoding processes (ceiling 5 %)")


if __name__ == "__main__":
    main()
