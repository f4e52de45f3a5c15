"""The stages `latents` and `text_embeddings`: kept clips and their captions as a generator's frozen networks see them.

A trainer that reads them needs neither network: of Wan 2.1 the text encoder alone is 11 GB. They are two stages, so
that another caption is no reason to encode a video again. Both write a safetensors file a clip, which `shard` packs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import duckdb
import pyarrow as pa
from pydantic import Field

from curate.keys import stage_digest
from curate.media.probe import probe
from curate.media.video import Decode, Timing
from curate.stage import Failure, Row, RowStage, Stage, Workspace
from schemas import Table, caption_checks
from schemas import latents as tables
from stages.caption.chosen import LAYERS, captions_chosen
from stages.latents import networks
from stages.latents.encode import StreamingEncoder
from stages.latents.pictures import fit, sampled
from stages.latents.text import clean_caption, embedded

_NONE = "no weights of a generator are given; set {}.weights"

_WORDS = ("facts", *LAYERS)

Level = Literal["clip", "shot", "event", "story"]


class Latents(RowStage):
    """Encodes each kept clip from its start, in the memory of four pictures, whatever its length.

    A clip's first latent is that of a single picture, and every other leans on what was before: a part of it is not
    what an encoding of that part alone would be, and a trainer must not take it for one.
    """

    name: ClassVar[str] = "latents"
    writes: ClassVar[Table] = tables.LATENTS
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "media": ("clip_id", "source_id", "path", "duration_s"),
    }
    opens_media: ClassVar[bool] = True

    weights: str | None = None
    """The generator's folder in diffusers' layout, of which `vae` is used; `hub` for Wan 2.1 from Hugging Face, or
    another hub id; none: no clip is encoded."""
    fps: float = Field(16.0, gt=0, le=120)
    """Pictures a second, sampled by time: Wan 2.1 was trained at 16, LongLive 2 at 24."""
    height: int = Field(480, ge=16, multiple_of=16)
    """Pixels: the VAE divides by 8, the transformer by 2. 480 is Wan 2.1's smaller size."""
    width: int = Field(832, ge=16, multiple_of=16)
    """Pixels. A picture is scaled to cover both, and its middle is cut out."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row | Failure]:
        for clip in inputs["media"].to_pylist():
            row: Row = {"clip_id": clip["clip_id"], "source_id": clip["source_id"]}
            if self.weights is None:
                yield row | {"unmeasured": _NONE.format(self.name)}
                continue
            folder = networks.part(self.weights, networks.VAE)
            try:
                with work.fetch(clip["path"]) as path:
                    yield row | self._encoded(folder, path, clip, work)
            except Exception as error:
                yield Failure(clip["clip_id"], error)

    def _encoded(self, folder: Path, path: Path, clip: Row, work: Workspace) -> Row:
        import torch
        from safetensors.torch import save_file

        vae = networks.load_vae(folder)
        encoder = StreamingEncoder(vae)
        decode = Decode(str(path), Timing.of(probe(str(path))))
        pictures = ((frame.t_s, frame.upright()) for frame in decode)
        found: list[torch.Tensor] = []
        seen = 0
        for t_s, picture in sampled(pictures, self.fps, clip["duration_s"]):
            pixels = torch.from_numpy(fit(picture, self.width, self.height)).to(vae.device)
            latent = encoder.push(pixels.permute(2, 0, 1)[None, :, None].float() / 127.5 - 1)
            seen += 1
            if latent is not None:
                found.append(latent[0, :, 0].half().cpu())
                work.progress(t_s)
        if not found:
            raise ValueError(f"{clip['path']}: has no picture that could be decoded")
        made = torch.stack(found)
        if not torch.isfinite(made).all():
            raise ValueError(f"{clip['path']}: its latents do not fit float16; is {folder} a Wan VAE?")
        vae_print = networks.fingerprint(folder)
        told: dict[str, Any] = {
            "layout": "frames, channels, height, width; the posterior's mode, not normalised",
            "clip_id": clip["clip_id"],
            "frames": seen - encoder.waiting,
            "fps": self.fps,
            "height": self.height,
            "width": self.width,
            "mean": json.dumps(list(vae.config.latents_mean)),
            "std": json.dumps(list(vae.config.latents_std)),
            "vae": vae_print,
        }
        local = work.scratch / "latents.safetensors"
        save_file({"latents": made}, local, metadata={key: str(value) for key, value in told.items()})
        columns = {key: told[key] for key in ("frames", "fps", "height", "width", "vae")}
        return _published(local, self, clip, vae_print, work) | columns | {"latents": len(found)}


class TextEmbeddings(RowStage):
    """Embeds what is said of each kept clip, each text once, and the empty text, for guidance."""

    name: ClassVar[str] = "text_embeddings"
    writes: ClassVar[Table] = tables.TEXT
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "media": ("clip_id", "source_id"),
        "clips": ("clip_id", "start_s", "end_s"),
        "captions": ("source_id", "node_id", "parent_id", "clip_id", "level", "start_s", "end_s", "flags", *_WORDS),
    }
    reads_if_there: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "caption_checks": ("source_id", "node_id", "passed", "text_from"),
    }

    weights: str | None = None
    """The generator's folder in diffusers' layout, of which `text_encoder` and `tokenizer` are used; `hub` for Wan 2.1
    from Hugging Face, or another hub id; none: no caption is embedded. UMT5-XXL takes 23 GB of memory."""
    tokens: int = Field(512, ge=1, le=4096)
    """Tokens that a caption is cut at; Wan 2.1 was trained with 512."""
    levels: tuple[Level, ...] = ("clip", "shot")
    """Levels of the caption tree that are embedded beside the sample's .txt: those that change within a take."""

    def run(self, inputs: Mapping[str, pa.Table], work: Workspace) -> Iterator[Row | Failure]:
        told = {} if self.weights is None else self._told(inputs)
        for clip in inputs["media"].to_pylist():
            row: Row = {"clip_id": clip["clip_id"], "source_id": clip["source_id"]}
            if self.weights is None:
                yield row | {"unmeasured": _NONE.format(self.name)}
            elif clip["clip_id"] not in told:
                yield row | {"unmeasured": "no caption of the clip may be used"}
            else:
                try:
                    yield row | self._embedded(clip, told[clip["clip_id"]], work)
                except Exception as error:
                    yield Failure(clip["clip_id"], error)

    def _told(self, inputs: Mapping[str, pa.Table]) -> dict[str, list[str]]:
        """Each clip's texts: what a sample's .txt and .json will say of it."""
        query = f"""
        select clip_id, c.level, c.text from media join clips using (clip_id)
        join ({captions_chosen(caption_checks.TABLE.name in inputs)}) c on c.source_id = media.source_id
            and (c.clip_id = media.clip_id
                or c.clip_id is null and c.start_s < clips.end_s and c.end_s > clips.start_s)
        order by c.start_s, c.end_s desc, c.node_id
        """  # noqa: S608 - SQL out of this package
        with duckdb.connect() as database:
            for name, rows in inputs.items():
                database.register(name, rows)
            found = database.sql(query).fetchall()
        texts: dict[str, list[str]] = {}
        shots: dict[str, list[str]] = {}
        for clip_id, level, text in found:
            if level in self.levels:
                texts.setdefault(clip_id, []).append(text.strip())
            if level == "shot":
                shots.setdefault(clip_id, []).append(text)
        return {clip_id: ["\n".join(shots[clip_id]).strip(), *texts.get(clip_id, [])] for clip_id in shots}

    def _embedded(self, clip: Row, texts: list[str], work: Workspace) -> Row:
        import torch
        from safetensors.torch import save_file

        folder = networks.part(str(self.weights), networks.TEXT_ENCODER)
        tokenizer, encoder = networks.load_text(folder, networks.part(str(self.weights), networks.TOKENIZER))
        names = list(dict.fromkeys(["", *texts]))
        tensors: dict[str, torch.Tensor] = {}
        cut = 0
        for number, text in enumerate(names):
            rows, shortened = embedded(tokenizer, encoder, clean_caption(text), self.tokens)
            # bfloat16, not float16: some of UMT5's channels reach far beyond its range in long texts.
            tensors[str(number)] = rows.to(torch.bfloat16).cpu().contiguous()
            cut += shortened
            work.progress(0.0)
        tensors["captions"] = torch.frombuffer(bytearray(json.dumps(names).encode()), dtype=torch.uint8)
        encoder_print = networks.fingerprint(folder)
        local = work.scratch / "text.safetensors"
        told = {"clip_id": clip["clip_id"], "tokens": str(self.tokens), "text_encoder": encoder_print}
        save_file(tensors, local, metadata=told)
        columns = {"captions": len(names), "cut": cut, "text_encoder": encoder_print}
        return _published(local, self, clip, encoder_print, work) | columns


def _published(local: Path, stage: Stage, clip: Row, network: str, work: Workspace) -> Row:
    """Move a finished file into the dataset, beside the clip, under a name that another content will not have."""
    with open(local, "rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    size = local.stat().st_size
    made_by = hashlib.sha256(f"{stage_digest(stage)} {network} {checksum}".encode()).hexdigest()[:8]
    relative = f"clips/{clip['clip_id'][:2]}/{clip['clip_id']}.{made_by}.{local.name}"
    work.publish(local, relative)
    return {"path": relative, "sha256": checksum, "bytes": size}
