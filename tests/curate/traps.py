"""Media files that point elsewhere, a server that notes who follows them, and a trace of what a command opens."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

METADATA_SERVICE = "http://169.254.169.254/latest/meta-data/iam/security-credentials/"
"""Where a cloud's machines find their own keys."""


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


@contextmanager
def luring(film: bytes) -> Iterator[Lure]:
    """The server, for as long as the block lasts."""
    with Lure() as server:
        server.film = film
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


# -- text that says where the pictures are -------------------------------------------------------------------------


def hls(url: str) -> str:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{url}\n#EXT-X-ENDLIST\n"


def hls_key(url: str) -> str:
    return hls(url).replace("#EXTINF", f'#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF')


def hls_map(url: str) -> str:
    return hls(url).replace("#EXTINF", f'#EXT-X-MAP:URI="{url}"\n#EXTINF')


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


def dash_entity(url: str) -> str:
    """An external entity of XML, which a careless parser puts in."""
    return dash("&x;").replace("<MPD", f'<!DOCTYPE MPD [<!ENTITY x SYSTEM "{url}">]><MPD', 1)


def smooth_playlist(url: str) -> str:
    return f'<smil><body><switch><video src="{url}"/></switch></body></smil>'


def imf(url: str) -> str:
    """A composition playlist, as IMF packages have."""
    return (
        '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2013">'
        f"<SegmentList><Segment><SequenceList><MainImageSequence><Resource><Path>{url}</Path></Resource>"
        "</MainImageSequence></SequenceList></Segment></SegmentList></CompositionPlaylist>"
    )


def session(url: str) -> str:
    return f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\na=control:{url}\nm=video 5004 RTP/AVP 96\n"


def avisynth(url: str) -> str:
    return f'DirectShowSource("{url}")\n'


def vapoursynth(url: str) -> str:
    return f"import vapoursynth as vs\nopen({url!r}).read()\nvs.core.lsmas.LWLibavSource({url!r}).set_output()\n"


def filter_graph(url: str) -> str:
    return f"movie=filename={url}\n"


def subtitles(url: str) -> str:
    return (
        "[Script Info]\nScriptType: v4.00+\n[Fonts]\nfontname: ../../x.ttf\n[Events]\n"
        "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
        f"Dialogue: 0,0:00:00.00,0:00:05.00,Default,,0,0,0,,{{\\img({url})}}movie={url}\n"
    )


def asx(url: str) -> str:
    return f'[Reference]\nRef1={url}\n<asx version="3.0"><entry><ref href="{url}"/></entry></asx>\n'


SCRIPTS: dict[str, Callable[[str], str]] = {
    made.__name__: made
    for made in (
        *(hls, hls_key, hls_map, ffconcat, dash, dash_entity, smooth_playlist, imf, session),
        *(avisynth, vapoursynth, filter_graph, subtitles, asx),
    )
}


# -- files that are films, and point elsewhere ----------------------------------------------------------------------


def with_reference(whole: bytes, target: bytes, alias: bool = True) -> bytes:
    """A QuickTime film whose pictures are said to lie in another file: its entry `url ` becomes an alias, or a URL."""
    head = struct.pack(">IHHI", 0, 0, 0, 0)
    volume, folder = bytes([4]) + b"disk".ljust(27, b"\0"), bytes([len(target) % 256]) + target.ljust(63, b"\0")
    record = head[:4] + struct.pack(">HHH", 0, 2, 0) + volume + bytes(4 + 2 + 2 + 4) + folder[:64] + bytes(16)
    record += struct.pack(">HH", 1, 1) + bytes(4 + 2 + 10)
    for kind in (2, 18):  # the path as the old system writes it, and as Unix does
        text = b"disk:" + target if kind == 2 else b"/" + target
        record += struct.pack(">HH", kind, len(text)) + text + b"\0" * (len(text) % 2)
    record += struct.pack(">HH", 0xFFFF, 0)
    record = struct.pack(">I", 0) + struct.pack(">H", len(record)) + record[6:]
    body = record if alias else struct.pack(">I", 0) + target + b"\0"
    entry = struct.pack(">I4s", 8 + len(body), b"alis" if alias else b"url ") + body
    entry = struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record if alias else entry
    old = struct.pack(">I4sI", 12, b"url ", 1)
    grown = len(entry) - len(old)
    data = whole.replace(old, entry)
    for name in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        place = data.index(name) - 4
        (size,) = struct.unpack_from(">I", data, place)
        data = data[:place] + struct.pack(">I", size + grown) + data[place + 4 :]
    return data


def linked(whole: bytes, name: bytes) -> bytes:
    """A Matroska film that says which file it goes on from: its WritingApp becomes PrevFilename."""
    place = whole.index(b"\x57\x41")
    length = whole[place + 2] & 0x7F
    assert len(name) < length
    return whole.replace(
        whole[place : place + 3 + length],
        b"\x3c\x83\xab" + bytes([0x80 | length - 1]) + name.ljust(length - 1, b"\0"),
    )


def attached(source: Path, target: Path, *parts: Path) -> Path:
    """A Matroska film with files attached whose names leave the folder."""
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(source), "-c", "copy"]
    for number, part in enumerate(parts):
        command += ["-attach", str(part), f"-metadata:s:t:{number}", "mimetype=application/x-mpegURL"]
        command += [f"-metadata:s:t:{number}", f"filename=../../../../tmp/planted-{number}.m3u8"]
    subprocess.run([*command, str(target)], check=True)
    return target


def cover_by_url(sound: bytes, url: str) -> bytes:
    """An MP3 whose ID3 tag says that its picture is at an address (`-->`)."""
    body = b"\0-->\0\x03\0" + url.encode()
    frame = b"APIC" + struct.pack(">I", len(body)) + b"\0\0" + body
    size = bytes([len(frame) >> 21 & 127, len(frame) >> 14 & 127, len(frame) >> 7 & 127, len(frame) & 127])
    return b"ID3\x03\0\0" + size + frame + sound


# -- what a command opens -------------------------------------------------------------------------------------------

_CALL = re.compile(r'^(\d+) +(?:\d+\.\d+ )?(open|openat|openat2|creat)\((?:[^,"]+, )?"((?:[^"\\]|\\.)*)"')
_CONNECT = re.compile(r"^(\d+) +connect\(\d+, \{sa_family=(AF_\w+)(.*)")
_EXEC = re.compile(r"^(\d+) +execve\((.*)")
_FORK = re.compile(r"^(\d+) +(?:clone3?|v?fork)\(.*\) += (\d+)|^(\d+) +<\.\.\. (?:clone3?|v?fork) resumed>.* = (\d+)")


@dataclass
class Trace:
    """What a command and all its children did."""

    status: int
    output: str
    opened: list[str] = field(default_factory=list)
    """Every path that was opened, or tried."""
    connected: list[str] = field(default_factory=list)
    """Every address but those of this machine's own sockets in the file system."""
    started: list[str] = field(default_factory=list)
    """Programs."""
    decoder_connected: list[str] = field(default_factory=list)
    """Addresses that the processes in which media is opened connected to."""


def traced(command: Sequence[str], log: Path, **more: str) -> Trace:
    """Run a command under strace."""
    calls = "open,openat,openat2,creat,connect,execve,fork,vfork,clone,clone3"
    run = subprocess.run(
        [
            "strace",
            "-f",
            "--seccomp-bpf",
            "-qq",
            "-s",
            "4096",
            "-e",
            f"trace={calls}",
            "-e",
            "signal=none",
            "-o",
            str(log),
            *command,
        ],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=280,
        env=os.environ | more,
        check=False,
    )
    found = Trace(run.returncode, run.stdout + run.stderr)
    decoders: set[str] = set()
    for line in log.read_text(errors="replace").splitlines():
        if call := _CALL.match(line):
            found.opened.append(
                call[3].encode().decode("unicode_escape").encode("latin-1", "replace").decode("utf-8", "replace")
            )
        elif call := _CONNECT.match(line):
            if call[2] != "AF_UNIX":
                found.connected.append(call[3])
            if call[1] in decoders:
                found.decoder_connected.append(call[3])
        elif call := _EXEC.match(line):
            found.started.append(call[2])
            if '"curate.child"' in call[2]:
                decoders.add(call[1])
        elif call := _FORK.match(line):
            parent, child = (call[1], call[2]) if call[1] else (call[3], call[4])
            if parent in decoders:
                decoders.add(child)
    return found


def curate(*words: str | Path) -> list[str]:
    """The command line of `curate`."""
    return [sys.executable, "-m", "curate.cli", *map(str, words)]


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG that says it has this size, whatever it holds."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
