"""Tiny films of a second or two in every container and codec that is met in the wild: what the fuzzers start from."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import imageio_ffmpeg

PICTURE = "testsrc2=s=96x64:r=10:d=1.2"
SOUND = "sine=f=440:r=16000:d=1.2"
X264 = "-c:v libx264 -preset ultrafast -g 7 -x264-params threads=1"
X265 = "-c:v libx265 -preset ultrafast -x265-params log-level=none:pools=1:keyint=7"
AAC, NONE = "-c:a aac", "-an"
SUBTITLES = "1\n00:00:00,100 --> 00:00:00,800\nHello\n\n2\n00:00:00,900 --> 00:00:01,100\n<i>there</i>\n"

QUIET = os.environ | {"SVT_LOG": "1"}

KINDS: Mapping[str, str] = {
    # MP4 and its relatives
    "h264.mp4": f"{X264} {AAC}",
    "reordered.mp4": f"{X264} -bf 3 -sc_threshold 0 {AAC} -movflags +faststart",
    "main.mp4": f"-c:v libx264 -preset veryfast -profile:v main -bf 2 -g 5 -x264-params threads=1 {AAC}",
    "interlaced.mp4": f"{X264} -flags +ildct+ilme {NONE}",
    "fragmented.mp4": f"{X264} {AAC} -movflags +frag_keyframe+empty_moov+default_base_moof",
    "dash.mp4": f"{X264} {AAC} -movflags +dash+frag_keyframe+global_sidx",
    "edited.mp4": f"-ss 0.35 {X264} -bf 2 {AAC} -movflags +use_metadata_tags -metadata x=y",
    "subtitled.mp4": f"{X264} {AAC} -map 0:v -map 1:a -map 2:s -c:s mov_text",
    "slow.mp4": f"-vf fps=5,setpts=20*PTS {X264} -g 1 {NONE}",
    "long.mp4": f"-vf setpts=25*PTS -r 1 {X264} -g 6 {NONE}",
    "hevc.mp4": f"{X265} -tag:v hvc1 {AAC}",
    "av1.mp4": f"-c:v libsvtav1 -preset 12 -svtav1-params lp=1 {AAC}",
    "vp9.mp4": f"-c:v libvpx-vp9 -deadline realtime -cpu-used 8 {AAC}",
    "mpeg4.mp4": f"-c:v mpeg4 -g 6 -bf 1 {AAC}",
    "mjpeg.mp4": f"-c:v mjpeg {AAC}",
    "mpeg2.mp4": "-c:v mpeg2video -g 6 -c:a mp2",
    "h264.mov": f"{X264} -c:a pcm_s16le -timecode 00:00:00:00",
    "prores.mov": "-c:v prores_ks -c:a pcm_s24le",
    "qtrle.mov": f"-c:v qtrle {NONE}",
    "png.mov": f"-c:v png {NONE}",
    "cineform.mov": f"-c:v cfhd {NONE}",
    "alac.mov": "-c:v svq1 -c:a alac",
    "dnxhr.mov": f"-vf scale=256:128 -c:v dnxhd -profile:v dnxhr_lb -t 0.5 {NONE}",
    "h263.3gp": "-vf scale=128:96 -c:v h263 -c:a libopencore_amrnb -ar 8000 -b:a 12.2k",
    "mpeg4.3g2": f"-c:v mpeg4 {AAC}",
    "j2k.mov": f"-c:v jpeg2000 -t 0.8 {NONE}",
    "h264.f4v": f"{X264} {AAC}",
    # Matroska
    "h264.mkv": f"{X264} -bf 2 -map 0:v -map 1:a -map 2:s -c:a libopus -c:s srt -attach ATTACHED "
    "-metadata:s:t mimetype=text/plain",
    "hevc.mkv": f"{X265} -c:a flac",
    "ffv1.mkv": "-c:v ffv1 -level 3 -c:a pcm_s16le",
    "mpeg2.mkv": "-c:v mpeg2video -g 6 -c:a ac3",
    "theora.mkv": "-c:v libtheora -c:a libvorbis",
    "utvideo.mkv": "-c:v utvideo -c:a wavpack",
    "ass.mkv": f"{X264} -map 0:v -map 1:a -map 2:s -c:a libmp3lame -c:s ass",
    "ten_bit.mkv": f"-pix_fmt yuv420p10le {X264} {NONE}",
    "full_chroma.mkv": f"-pix_fmt yuv444p {X264} {NONE}",
    "vp8.webm": "-c:v libvpx -deadline realtime -c:a libvorbis",
    "vp9.webm": "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -map 0:v -map 1:a -map 2:s -c:a libopus -c:s webvtt",
    "alpha.webm": f"-pix_fmt yuva420p -c:v libvpx-vp9 -deadline realtime -cpu-used 8 {NONE}",
    "av1.webm": "-c:v libsvtav1 -preset 12 -svtav1-params lp=1 -c:a libopus",
    # Streams
    "h264.ts": f"{X264} {AAC}",
    "hevc.ts": f"{X265} -c:a ac3",
    "mpeg2.ts": "-c:v mpeg2video -g 6 -bf 2 -c:a mp2",
    "mpeg2.mpg": "-c:v mpeg2video -g 6 -c:a mp2 -f vob",
    "mpeg1.mpeg": "-r 25 -t 0.6 -c:v mpeg1video -g 6 -c:a mp2",
    "mpeg2.m2v.mpg": f"-c:v mpeg2video -g 6 {NONE} -f mpeg2video",
    "raw.h264": f"{X264} {NONE}",
    "raw.hevc": f"{X265} {NONE}",
    "raw.m4v": f"-c:v mpeg4 {NONE}",
    "raw.obu": f"-c:v libsvtav1 -preset 12 -svtav1-params lp=1 {NONE}",
    "vp8.ivf": f"-c:v libvpx -deadline realtime {NONE}",
    "av1.ivf": f"-c:v libsvtav1 -preset 12 -svtav1-params lp=1 {NONE}",
    "raw.y4m": f"-t 1 {NONE} -pix_fmt yuv420p",
    # The rest
    "mpeg4.avi": "-c:v mpeg4 -g 6 -c:a libmp3lame",
    "h264.avi": f"{X264} -c:a pcm_s16le",
    "msmpeg4.avi": "-c:v msmpeg4 -c:a adpcm_ms",
    "huffyuv.avi": f"-c:v huffyuv -t 0.8 {NONE}",
    "raw.avi": f"-c:v rawvideo -t 0.5 -pix_fmt bgr24 {NONE}",
    "cinepak.avi": f"-c:v cinepak -t 0.5 {NONE}",
    "zmbv.avi": f"-c:v zmbv -t 0.8 {NONE}",
    "flv1.flv": "-c:v flv -c:a libmp3lame -ar 44100",
    "h264.flv": f"{X264} {AAC}",
    "theora.ogv": "-c:v libtheora -c:a libvorbis",
    "flac.ogv": "-c:v libtheora -c:a flac",
    "film.gif": NONE,
    "mpeg2.mxf": "-c:v mpeg2video -g 4 -r 25 -t 0.6 -c:a pcm_s16le -ar 48000",
    "h264.mxf": f"{X264} -r 25 -t 0.6 -c:a pcm_s16le -ar 48000",
    "wmv2.wmv": "-c:v wmv2 -c:a wmav2",
    "wmv1.asf": "-c:v wmv1 -c:a wmav1",
    "rv20.rm": "-c:v rv20 -c:a ac3",
    "mpeg4.nut": "-c:v mpeg4 -c:a libmp3lame",
    "ffvhuff.nut": f"-c:v ffvhuff -t 0.8 {NONE}",
    "mpeg2.wtv": "-r 25 -t 0.6 -c:v mpeg2video -c:a mp2",
    "film.dv": "-vf scale=720:576,format=yuv420p -r 25 -t 0.08 -c:a pcm_s16le -ar 48000 -ac 2",
    "sound.wav": "-vn",
}
"""Names of files, and what ffmpeg must be told to write them."""


def write(folder: Path, names: frozenset[str] = frozenset(KINDS)) -> list[Path]:
    """Write the films that are not there yet; returns all of those named, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "subtitles.srt"
    text.write_text(SUBTITLES)
    attached = folder / "attached.txt"
    attached.write_text("a font, say\n" * 20)
    inputs = ["-f", "lavfi", "-i", PICTURE, "-f", "lavfi", "-i", SOUND, "-i", str(text)]
    paths = []
    for name, how in KINDS.items():
        if name not in names:
            continue
        path = folder / name
        paths.append(path)
        if path.exists():
            continue
        half = path.with_name(f"half.{name}")
        options = [str(attached) if word == "ATTACHED" else word for word in how.split()]
        if "-pix_fmt" not in options and "-vn" not in options and "scale" not in how and name not in ("film.gif",):
            options = ["-pix_fmt", _pixels(name), *options]
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-y", "-threads", "1", *inputs]
        subprocess.run(
            [*command, "-shortest", "-bitexact", *options, "-strict", "-2", str(half)], check=True, env=QUIET
        )
        half.rename(path)
    return paths


def _pixels(name: str) -> str:
    """The pixel format that a name's codec takes, where it is not the usual one."""
    other = {"prores.mov": "yuv422p10le", "cineform.mov": "yuv422p10le", "png.mov": "rgb24", "qtrle.mov": "rgb24"}
    other |= {"alac.mov": "yuv410p", "huffyuv.avi": "yuv422p", "cinepak.avi": "rgb24", "zmbv.avi": "bgr0"}
    other |= {"mjpeg.mp4": "yuvj420p"}
    return other.get(name, "yuv420p")
