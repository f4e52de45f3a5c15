"""Encodes one film whole in a process of its own, as clips are encoded: `peer.py` starts it.

`python one_encode.py FILM OUT`: decoded and encoded on one thread each, x264 veryfast, crf 20.
"""

from __future__ import annotations

import sys

import av


def main() -> None:
    film, out = sys.argv[1:]
    with av.open(film) as source, av.open(out, "w") as box:
        stream = source.streams.video[0]
        stream.codec_context.thread_count = 1
        options = {"preset": "veryfast", "crf": "20", "threads": "1"}
        target = box.add_stream("libx264", rate=stream.average_rate, options=options)
        target.width, target.height, target.pix_fmt = stream.width, stream.height, "yuv420p"
        for picture in source.decode(stream):
            picture.pict_type = av.video.frame.PictureType.NONE
            box.mux(target.encode(picture))
        box.mux(target.encode(None))


if __name__ == "__main__":
    main()
