"""A media file must not make us open anything but itself, whatever it says it is."""

import struct
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import av
import pytest

from curate.media.container import MediaError
from curate.media.probe import probe
from curate.media.video import Decode, Timing
from tests.curate.films import film, lumas, steady


class Lure(ThreadingHTTPServer):
    """A server that hands out one film and remembers who asked."""

    film = b""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/secret.ts"


class Answer(BaseHTTPRequestHandler):
    server: Lure

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.film)))
        self.end_headers()
        self.wfile.write(self.server.film)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def lure(tmp_path: Path) -> Iterator[Lure]:
    with Lure() as server:
        server.film = film(tmp_path / "served.ts", steady(30)).read_bytes()
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def hls(url: str) -> str:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{url}\n#EXT-X-ENDLIST\n"


def hls_key(url: str) -> str:
    return hls(url).replace("#EXTINF", f'#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF')


def ffconcat(url: str) -> str:
    return f"ffconcat version 1.0\nfile '{url}'\n"


def dash(url: str) -> str:
    return (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT10S" '
        'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="video/mp4">'
        f'<Representation id="1" bandwidth="1000"><BaseURL>{url}</BaseURL></Representation></AdaptationSet>'
        "</Period></MPD>"
    )


def smooth_playlist(url: str) -> str:
    return f'<smil><body><switch><video src="{url}"/></switch></body></smil>'


def session(url: str) -> str:
    return f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\na=control:{url}\nm=video 5004 RTP/AVP 96\n"


SCRIPTS: dict[str, Callable[[str], str]] = {
    f.__name__: f for f in (hls, hls_key, ffconcat, dash, smooth_playlist, session)
}


@pytest.mark.parametrize("suffix", ["mp4", "ts", "m3u8", "mpd", "mkv"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_playlist_reaches_no_server(tmp_path: Path, lure: Lure, script: str, suffix: str) -> None:
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


def test_the_lure_would_work(tmp_path: Path, lure: Lure) -> None:
    """Without our door the playlist is followed, so that the tests above show something."""
    path = tmp_path / "film.m3u8"
    path.write_text(hls(lure.url))
    with av.open(str(path), options={"allowed_extensions": "ALL", "protocol_whitelist": "file,http,tcp"}) as box:
        assert next(box.decode(video=0)).width == 96
    assert lure.asked


@pytest.mark.parametrize(
    "name", ["http://127.0.0.1:{port}/a.ts", "concat:a.ts|b.ts", "pipe:0", "async:cache:http://127.0.0.1:{port}/a.ts"]
)
def test_name_is_no_address(lure: Lure, name: str) -> None:
    with pytest.raises(MediaError):
        probe(name.format(port=lure.server_port))
    assert lure.asked == []


@pytest.mark.parametrize(
    "name", ["a:b.mp4", "http:film.mp4", "50% off, #1 'x'.mp4", "-i.mp4", "%03d.mp4", "фильм 映画.mp4", "a\nb.mp4"]
)
def test_odd_name_is_a_name(tmp_path: Path, name: str) -> None:
    film(tmp_path / "a.mp4", steady(5)).rename(tmp_path / name)
    assert probe(str(tmp_path / name))["packets"] == 5


def with_reference(whole: bytes, target: bytes) -> bytes:
    """A QuickTime film whose pictures are said to lie in another file: its entry `url ` becomes an alias."""
    head = struct.pack(">IHHI", 0, 0, 0, 0)
    volume, folder = bytes([4]) + b"disk".ljust(27, b"\0"), bytes([len(target)]) + target.ljust(63, b"\0")
    record = head[:4] + struct.pack(">HHH", 0, 2, 0) + volume + bytes(4 + 2 + 2 + 4) + folder + bytes(4 + 4 + 4 + 4)
    record += struct.pack(">HH", 1, 1) + bytes(4 + 2 + 10)
    for kind in (2, 18):  # the path as the old system writes it, and as Unix does
        text = b"disk:" + target if kind == 2 else b"/" + target
        record += struct.pack(">HH", kind, len(text)) + text + b"\0" * (len(text) % 2)
    record += struct.pack(">HH", 0xFFFF, 0)
    record = struct.pack(">I", 0) + struct.pack(">H", len(record)) + record[6:]
    entry = struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record
    old = struct.pack(">I4sI", 12, b"url ", 1)
    grown = len(entry) - len(old)
    data = whole.replace(old, entry)
    for name in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        place = data.index(name) - 4
        (size,) = struct.unpack_from(">I", data, place)
        data = data[:place] + struct.pack(">I", size + grown) + data[place + 4 :]
    return data


def test_external_data_reference_is_not_followed(tmp_path: Path) -> None:
    secret = film(tmp_path / "secret.mov", steady(20), codec="mjpeg", pix_fmt="yuvj420p")
    hostile = tmp_path / "hostile.mov"
    hostile.write_bytes(with_reference(secret.read_bytes(), b"secret.mov"))
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
