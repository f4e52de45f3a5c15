"""FastVideo's layouts: what its preprocessing reads, and, where the dataset has latents, what that would make of it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa

from curate.stage import Row
from pipelines.export.folder import Out
from pipelines.export.taken import ExportError, Take, Taken

_TENSORS = ("vae_latent", "text_embedding")
PARQUET = pa.schema(
    [
        pa.field("id", pa.string()),
        *(
            pa.field(f"{tensor}_{part}", kind)
            for tensor in _TENSORS
            for part, kind in (("bytes", pa.binary()), ("shape", pa.list_(pa.int64())), ("dtype", pa.string()))
        ),
        *(pa.field(name, pa.string()) for name in ("file_name", "caption", "media_type")),
        *(pa.field(name, pa.int64()) for name in ("width", "height", "num_frames")),
        *(pa.field(name, pa.float64()) for name in ("duration_sec", "fps")),
    ]
)
"""The columns of its `pyarrow_schema_t2v`."""


def fastvideo(taken: Taken, out: Out, prompts: int) -> int:
    """`videos/` and `videos2caption.json`, the raw dataset of its preprocessing; where every take has latents and
    embeddings, also `parquet/latents.parquet`, the preprocessed dataset of its trainers.

    As its own preprocessing leaves them, latents are raw (its trainer normalises), of shape [C, T, H, W], embeddings
    are without padding, both float32, which its loader takes for granted; `num_frames` counts latents.
    """
    listed = []
    for take in taken.takes:
        out.media(f"videos/{take.clip_id}.mp4", take.media)
        size = {"width": take.width, "height": take.height}
        listed.append(
            {
                "path": f"{take.clip_id}.mp4",
                "resolution": size,
                "fps": take.fps,
                "duration": take.duration_s,
                "cap": [take.told("text")],
            }
        )
    out.json("videos2caption.json", listed)
    if all(take.latents and take.embeddings for take in taken.takes):
        out.parquet("parquet/latents.parquet", PARQUET, _rows(taken, out))
    return len(taken.takes)


def _rows(taken: Taken, out: Out) -> Iterator[Row]:
    from safetensors import safe_open
    from safetensors.torch import load_file

    for take in taken.takes:
        with out.fetch(str(take.latents)) as path, safe_open(str(path), "pt") as file:
            told = file.metadata()
            latents = file.get_tensor("latents").float().transpose(0, 1).contiguous()
        with out.fetch(str(take.embeddings)) as path:
            tensors = load_file(path)
        texts = json.loads(tensors["captions"].numpy().tobytes())
        text = spoken(take)
        if text not in texts:
            raise ExportError(
                f"{take.clip_id}: its text embeddings are of other captions; run the recipe again with text_embeddings"
            )
        embedding = tensors[str(texts.index(text))].float().contiguous()
        row: Row = {"id": take.clip_id, "file_name": take.clip_id, "caption": text, "media_type": "video"}
        for name, tensor in zip(_TENSORS, (latents, embedding), strict=True):
            row[f"{name}_bytes"] = tensor.numpy().tobytes()
            row[f"{name}_shape"], row[f"{name}_dtype"] = list(tensor.shape), "float32"
        fps, pictures = float(told["fps"]), int(told["frames"])
        yield row | {
            "width": int(told["width"]),
            "height": int(told["height"]),
            "num_frames": latents.shape[1],
            "duration_sec": pictures / fps,
            "fps": fps,
        }


def spoken(take: Take) -> str:
    """The text of the take as its sample's .txt has it."""
    return "\n".join(shot["text"] for shot in take.shots).strip()
