"""`latents` and `text_embeddings`: what a generator's frozen networks make of a kept clip and of its captions."""

import pyarrow as pa

from schemas import CLIP_ID, SOURCE_ID, UNMEASURED, Table, column

_PATH = column("path", pa.string(), "path of the safetensors file inside the dataset; null: none was made")
_SHA256 = column("sha256", pa.string(), "checksum of the file")
_BYTES = column("bytes", pa.int64(), "file size")

LATENTS = Table(
    "latents",
    1,
    "A clip as latents of a video VAE, encoded from the clip's start: the posterior's mode, float16, not normalised.",
    pa.schema(
        [
            CLIP_ID,
            SOURCE_ID,
            _PATH,
            _SHA256,
            _BYTES,
            column("latents", pa.int64(), "latent frames: the first of one picture, every other of four"),
            column("frames", pa.int64(), "pictures encoded, 4k + 1; up to 3 at the clip's end have no latent"),
            column("fps", pa.float64(), "pictures a second that were encoded, sampled by time"),
            column("height", pa.int32(), "height of the pictures encoded, px"),
            column("width", pa.int32(), "width of the pictures encoded, px"),
            column("vae", pa.string(), "fingerprint of the VAE: SHA-256 over its configuration and weights"),
            UNMEASURED,
        ]
    ),
)

TEXT = Table(
    "text_embeddings",
    1,
    "A clip's captions as embeddings of a text encoder, and the embedding of no text; rows of padding are left out.",
    pa.schema(
        [
            CLIP_ID,
            SOURCE_ID,
            _PATH,
            _SHA256,
            _BYTES,
            column("captions", pa.int32(), "texts embedded, the empty one among them"),
            column("cut", pa.int32(), "of these, longer than the encoder reads, so that their ends were left out"),
            column(
                "text_encoder", pa.string(), "fingerprint of the encoder: SHA-256 over its configuration and weights"
            ),
            UNMEASURED,
        ]
    ),
)
