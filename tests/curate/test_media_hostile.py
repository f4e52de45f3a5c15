"""A media file must not make us open anything but itself, whatever it says it is."""

from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from curate.media.container import MediaError
from curate.media.probe import probe
from curate.media.video import Decode, Timing
from tests.curate import traps
from tests.curate.films import film, lumas, steady
from tests.curate.traps import SCRIPTS


@pytest.fixture
def lure(tmp_path: Path) -> Iterator[traps.Lure]:
    with traps.luring(film(tmp_path / "served.ts", steady(30)).read_bytes()) as server:
        yield server


@pytest.mark.parametrize("suffix", ["mp4", "ts", "m3u8", "mpd", "mkv"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_playlist_reaches_no_server(tmp_path: Path, lure: traps.Lure, script: str, suffix: str) -> None:
    path = tmp_path / f"film.{suffix}"
    path.write_text(SCRIPTS[script](lure.url))
    with pytest.raises(MediaError, match="container"):
        probe(str(path))
    assert lure.asked == []


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    "target", ["secret.ts", "file:///etc/passwd", "concat:secret.ts|secret.ts", "subfile,,start,0,end,0,,:secret.ts"]
)
def test_playlist_opens_no_other_file(tmp_path: Path, script: str, target: str) -> None:
    film(tmp_path / "secret.ts", steady(30))
    path = tmp_path / "film.mp4"
    path.write_text(SCRIPTS[script](target))
    with pytest.raises(MediaError):
        probe(str(path))


def test_the_lure_would_work(tmp_path: Path, lure: traps.Lure) -> None:
    """Without our door the playlist is followed, so that the tests above show something."""
    path = tmp_path / "film.m3u8"
    path.write_text(traps.hls(lure.url))
    with av.open(str(path), options={"allowed_extensions": "ALL", "protocol_whitelist": "file,http,tcp"}) as box:
        assert next(box.decode(video=0)).width == 96
    assert lure.asked


@pytest.mark.parametrize(
    "name", ["http://127.0.0.1:{port}/a.ts", "concat:a.ts|b.ts", "pipe:0", "async:cache:http://127.0.0.1:{port}/a.ts"]
)
def test_name_is_no_address(lure: traps.Lure, name: str) -> None:
    with pytest.raises(MediaError):
        probe(name.format(port=lure.server_port))
    assert lure.asked == []


@pytest.mark.parametrize(
    "name", ["a:b.mp4", "http:film.mp4", "50% off, #1 'x'.mp4", "-i.mp4", "%03d.mp4", "фильм 映画.mp4", "a\nb.mp4"]
)
def test_odd_name_is_a_name(tmp_path: Path, name: str) -> None:
    film(tmp_path / "a.mp4", steady(5)).rename(tmp_path / name)
    assert probe(str(tmp_path / name))["packets"] == 5


def test_external_data_reference_is_not_followed(tmp_path: Path) -> None:
    secret = film(tmp_path / "secret.mov", steady(20), codec="mjpeg", pix_fmt="yuvj420p")
    hostile = tmp_path / "hostile.mov"
    hostile.write_bytes(traps.with_reference(secret.read_bytes(), b"secret.mov"))
    content = hostile.read_bytes()
    assert b"alis" in content
    # Take the file's own pictures away: whatever is decoded now would have come from the other file.
    with av.open(str(secret)) as box:
        packets = [bytes(p) for p in box.demux(video=0) if p.size]
    for packet in packets:
        content = content.replace(packet, bytes(len(packet)))
    hostile.write_bytes(content)
    with av.open(str(hostile), container_options={"enable_drefs": "1", "use_absolute_path": "1"}) as box:
        assert sum(1 for _ in box.decode(video=0)) == len(lumas(secret))  # the reference is one that libav follows
    try:
        found = probe(str(hostile))
    except MediaError:
        return
    assert list(Decode(str(hostile), Timing.of(found))) == []


def test_data_reference_to_an_address_is_not_followed(tmp_path: Path, lure: traps.Lure) -> None:
    whole = film(tmp_path / "film.mov", steady(20), codec="mjpeg", pix_fmt="yuvj420p").read_bytes()
    hostile = tmp_path / "hostile.mov"
    hostile.write_bytes(traps.with_reference(whole, lure.url.encode(), alias=False))
    found = probe(str(hostile))
    assert found["packets"] == sum(1 for _ in Decode(str(hostile), Timing.of(found))) == 20
    assert lure.asked == []


def opened_by_libav(address: str, kind: str | None = None, **options: str) -> int:
    """Pictures that libav gives without our door."""
    with av.open(address, format=kind, options=options) as box:
        return sum(1 for _ in box.decode(video=0))


def test_each_lure_would_work(tmp_path: Path, lure: traps.Lure) -> None:
    """This build of libav follows what the files of these tests say, so that they show something."""
    secret = film(tmp_path / "secret.ts", steady(30))
    picture = av.VideoFrame(96, 64, "rgb24").to_image()
    for number in (1, 2):
        picture.save(tmp_path / f"{number}.png")

    def script(name: str, target: object, suffix: str) -> str:
        path = tmp_path / f"{name}.{suffix}"
        path.write_text(SCRIPTS[name](str(target)))
        return str(path)

    web = {"protocol_whitelist": "file,http,tcp", "allowed_extensions": "ALL", "extension_picky": "0"}
    assert opened_by_libav(script("hls", lure.url, "m3u8"), **web) == 30
    assert lure.asked
    assert opened_by_libav(script("ffconcat", secret, "mp4"), safe="0") == 30
    assert opened_by_libav(f"concat:{secret}|{secret}") > 30
    assert opened_by_libav(f"subfile,,start,0,end,0,,:{secret}") == 30
    assert opened_by_libav(str(tmp_path / "%d.png")) == 2
    assert opened_by_libav(f"movie={secret}", "lavfi") == 30
