"""Whole commands over a folder in which every file points elsewhere, under strace: nothing but the files is opened."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.curate import traps
from tests.curate.films import Sound, film, steady
from tests.curate.traps import SCRIPTS, Trace, curate, traced
from tests.curate.verbs import command

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="no strace; apt-get install strace")

SUFFIXES = ("mp4", "ts", "mkv", "avi", "mov", "mxf")


@dataclass
class Field:
    """A folder of traps, what they lead to, and who watches."""

    top: Path
    traps: Path
    bait: Path
    lure: traps.Lure

    def untouched(self, trace: Trace) -> None:
        """Nobody followed anything. What connects are Dask's own processes to each other, on this machine."""
        assert self.lure.asked == []
        assert trace.opened
        assert [path for path in trace.opened if path.startswith(str(self.bait))] == []
        assert [path for path in trace.opened if "planted" in path or path == "/etc/shadow"] == []
        assert trace.decoder_connected == []
        assert [where for where in trace.connected if 'inet_addr("127.0.0.1")' not in where] == []
        assert [where for where in trace.connected if f"htons({self.lure.server_port})" in where] == []
        # PySceneDetect asks whether there is an ffmpeg, and gives it nothing to read.
        assert [what for what in trace.started if '"-i"' in what.split("]")[0] and "ffmpeg" in what] == []


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    top = tmp_path_factory.mktemp("field")
    folder, bait = top / "in", top / "bait"
    folder.mkdir()
    bait.mkdir()
    secret = film(bait / "secret.ts", steady(30))
    film(bait / "secret.mov", steady(20), codec="mjpeg", pix_fmt="yuvj420p")
    film(bait / "secret.mkv", steady(20))
    (bait / "1.png").write_bytes(traps.png(64, 64, bytes(64 * 193)))
    (bait / "secret.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nthe secret\n")
    tone = Sound(np.sin(np.arange(32000) / 4)[None].astype(np.float32) / 2, 16000)
    good = film(folder / "good.mp4", steady(50), base=Fraction(1, 25), sound=tone)
    with traps.luring(secret.read_bytes()) as lure:
        targets = {
            "web": lure.url,
            "cloud": traps.METADATA_SERVICE,
            "tcp": f"tcp://127.0.0.1:{lure.server_port}",
            "rtmp": f"rtmp://127.0.0.1:{lure.server_port}/live",
            "file": f"file://{secret}",
            "bare": str(secret),
            "relative": "../bait/secret.ts",
            "passwords": "file:///etc/shadow",
            "subfile": f"subfile,,start,0,end,0,,:{secret}",
            "concat": f"concat:{secret}|{secret}",
            "data": "data:video/mp2t;base64,R0A=",
            "crypto": f"crypto+file://{secret}",
            "pattern": f"{bait}/%d.png",
            "lavfi": f"lavfi:movie={secret}",
        }
        for s, (name, made) in enumerate(SCRIPTS.items()):
            for t, (kind, target) in enumerate(targets.items()):
                (folder / f"{name} {kind}.{SUFFIXES[(s + t) % len(SUFFIXES)]}").write_text(made(target))
        whole = (bait / "secret.mov").read_bytes()
        (folder / "alias.mov").write_bytes(traps.with_reference(whole, b"secret.mov"))
        (folder / "alias out.mov").write_bytes(traps.with_reference(whole, f"{bait}/secret.mov".encode()))
        (folder / "url.mov").write_bytes(traps.with_reference(whole, lure.url.encode(), alias=False))
        plain = film(folder / "plain.mkv", steady(20))
        (folder / "linked.mkv").write_bytes(traps.linked(plain.read_bytes(), b"secret.mkv"))
        (folder / "list.m3u8").write_text(traps.hls(lure.url))
        traps.attached(plain, folder / "attached.mkv", folder / "list.m3u8", bait / "secret.srt")
        shutil.copy(good, folder / "%d.mp4")
        shutil.copy(bait / "1.png", folder / "1.png")
        os.mkfifo(folder / "fifo.mp4")
        os.mkfifo(folder / "good.vtt")
        (folder / "plain.srt").symlink_to(bait / "secret.srt")
        (folder / "plain.ass").write_text(SCRIPTS["subtitles"](str(secret)))
        (folder / "link.mp4").symlink_to(secret)
        (folder / "up.mp4").symlink_to("../bait/secret.ts")
        (folder / "within.mp4").symlink_to("good.mp4")
        (folder / "device.mp4").symlink_to("/dev/zero")
        (folder / "endless.mp4").symlink_to("/proc/kmsg")
        (folder / "aside.mp4").symlink_to(bait, target_is_directory=True)
        yield Field(top, folder, bait, lure)


def test_every_file_is_probed_and_nothing_else(field: Field) -> None:
    """All traps through the one process that opens media."""
    work = "\n".join(
        (
            "import sys, pathlib",
            "from curate.sandbox import ChildRaisedError, Sandbox",
            "child, good = Sandbox(4.0, 60.0), []",
            "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):",
            "    try:",
            "        if path.is_file() and not path.is_symlink():",
            "            child.call('probe', {'path': str(path)}) and good.append(path.name)",
            "    except ChildRaisedError as error:",
            "        assert error.kind == 'MediaError', error",
            "child.close()",
            "print(len(good), *good, sep=chr(10))",
        )
    )
    trace = traced([sys.executable, "-c", work, str(field.traps)], field.top / "probes")
    assert trace.status == 0, trace.output
    assert sorted(trace.output.splitlines()[1:]) == sorted(
        ["good.mp4", "%d.mp4", "plain.mkv", "linked.mkv", "attached.mkv", "url.mov"]
    )
    field.untouched(trace)


@pytest.mark.slow
def test_a_whole_run_opens_nothing_else(field: Field) -> None:
    output = field.top / "dataset"
    trace = traced(
        curate("run", "people", "-i", field.traps, "-o", output, "--workers", "1", "--json"), field.top / "run"
    )
    assert trace.status == 0, trace.output[-3000:]
    summary = json.loads(trace.output.splitlines()[-1] if "{" not in trace.output[:1] else trace.output.splitlines()[0])
    scripts = len(SCRIPTS) * 14
    assert summary["states"]["source"]["failed"] >= scripts
    field.untouched(trace)
    assert not [path for path in trace.opened if path.endswith(("/fifo.mp4", "/good.vtt"))]
    errors = json.loads(command("status", output, "--json").stdout)["errors"]
    told = {Path(row["path"]).name: row["message"] for row in errors}
    for name in ("link.mp4", "up.mp4", "device.mp4", "endless.mp4"):
        assert "link out of the folder" in told[name]
    assert "within.mp4" not in told


@pytest.mark.slow
def test_a_verb_about_one_file_opens_nothing_else(field: Field) -> None:
    """All of them in one process, since under strace their imports cost more than their work."""
    found = []
    for name in ("hls web", "ffconcat bare", "good"):
        found += [path for path in field.traps.glob(f"{name}.*") if path.suffix != ".vtt"]
    assert len(found) == 3
    work = "\n".join(
        (
            "import sys",
            "from curate.cli import main",
            "found = sys.argv[1:]",
            "for verb, path in ((verb, path) for verb in ('cuts', 'speech', 'faces', 'characters') for path in found):",
            "    sys.argv[1:] = [verb, path, '--json']",
            "    try:",
            "        main()",
            "    except SystemExit as ended:",
            "        print('ended', verb, ended.code or 0)",
        )
    )
    trace = traced([sys.executable, "-c", work, *map(str, found)], field.top / "verbs")
    ended = [line.split()[1:] for line in trace.output.splitlines() if line.startswith("ended ")]
    assert ended == [[verb, end] for verb in ("cuts", "speech", "faces", "characters") for end in "110"], trace.output
    field.untouched(trace)


def test_cover_picture_by_address_is_not_fetched(field: Field, tmp_path: Path) -> None:
    silence = tmp_path / "tone.mp3"
    film_of_sound(silence)
    song = tmp_path / "song.mp3"
    song.write_bytes(traps.cover_by_url(silence.read_bytes(), field.lure.url))
    work = "from curate.media.probe import probe; import sys; print(probe(sys.argv[1], sound_only=True)['audio_codec'])"
    trace = traced([sys.executable, "-c", work, str(song)], tmp_path / "song")
    assert "mp3" in trace.output
    field.untouched(trace)


def film_of_sound(path: Path) -> None:
    import av

    with av.open(str(path), "w") as box:
        stream = box.add_stream("mp3", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        box.mux(stream.encode(frame) + stream.encode())


def test_the_trainer_follows_nothing_in_a_shard(field: Field, tmp_path: Path) -> None:
    """Its reader of windows, and that of the picture or video that `curate generate` goes on from."""
    shard = tmp_path / "000000.tar"
    names = [
        *(f"{name} {to}.*" for name in SCRIPTS for to in ("web", "bare")),
        "*.mov",
        "linked.mkv",
        "good.mp4",
        "1.png",
    ]
    hostile = [path for name in names for path in field.traps.glob(name) if path.is_file() and not path.is_symlink()]
    with tarfile.open(shard, "w") as tar:
        for number, path in enumerate(hostile):
            member = tarfile.TarInfo(f"{number:016x}.mp4")
            member.size = path.stat().st_size
            tar.addfile(member, io.BytesIO(path.read_bytes()))
    work = "\n".join(
        (
            "import sys, pathlib",
            "from pipelines.longtune.between import _pictures",
            "from pipelines.longtune.config import load_config",
            "from pipelines.longtune.data.tar import Tars, list_members",
            "from pipelines.longtune.data.windows import BadTakeError, probe",
            "from pipelines.longtune.errors import UsageError",
            "tars, shard, read, shown = Tars(), pathlib.Path(sys.argv[1]), 0, 0",
            "for name, member in list_members(shard):",
            "    try:",
            "        probe(tars.open(shard, member)); read += 1",
            "    except BadTakeError: pass",
            "config = load_config('tiny')",
            "for path in sys.argv[2:]:",
            "    try:",
            "        shown += bool(list(_pictures(pathlib.Path(path), config)))",
            "    except UsageError: pass",
            "print('read', read, 'shown', shown)",
        )
    )
    trace = traced([sys.executable, "-c", work, str(shard), *map(str, hostile)], tmp_path / "trainer")
    assert trace.status == 0, trace.output
    (told,) = (line for line in trace.output.splitlines() if line.startswith("read "))
    read, shown = (int(word) for word in told.split() if word.isdigit())
    assert 2 <= read <= 8
    assert 2 <= shown <= 10
    field.untouched(trace)
