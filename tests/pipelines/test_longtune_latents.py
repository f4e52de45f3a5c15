"""Latents and embeddings from real footage: made by a run of the engine, packed, and read as a trainer reads them."""

import hashlib
import io
import json
import math
import random
import shutil
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load, save

from curate import recipe as recipes
from curate.dataset import to_arrow
from curate.place import Place
from curate.progress import Reporter
from curate.run import Summary, run
from curate.workspace import open_workspace
from pipelines.longtune.config import CausalConfig, DataConfig, ModelConfig, TinyConfig
from pipelines.longtune.data.index import LATENTS, TEXT, build_index, check_latents
from pipelines.longtune.data.latents import read_header, read_latents, read_text
from pipelines.longtune.data.loader import Cursor, open_batches
from pipelines.longtune.data.shards import list_shards
from pipelines.longtune.data.takes import BadTakeError
from pipelines.longtune.data.tar import Member, Tars
from pipelines.longtune.data.windows import probe
from pipelines.longtune.errors import TuneError
from pipelines.longtune.vae import encode, to_pixels
from pipelines.longtune.weights import load_generator, make_generator
from schemas import Table, captions, clips, media, motion, quality, sources
from stages.latents import networks
from stages.latents.encode import StreamingEncoder
from stages.latents.pictures import fit, sampled
from stages.latents.stage import Latents, TextEmbeddings
from stages.pack import Pack
from stages.shard import Shard
from tests.curate.excerpts import excerpt

ENGINE = Path(__file__).parents[1] / "curate" / "engine.yaml"
SIZE = {"fps": 8.0, "height": 32, "width": 48}
LAYOUT = CausalConfig(block=3, window=6, sink=3)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A generator of the real classes with random weights, saved as a real one is."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    generator = make_generator(ModelConfig(tiny=TinyConfig()))
    generator.vae.register_to_config(latents_mean=[0.1, 0.2, 0.3, 0.4], latents_std=[1.0, 0.5, 2.0, 1.5])
    for name in ("transformer", "vae", "text_encoder", "tokenizer"):
        getattr(generator, name).save_pretrained(folder / name)
    return folder


PLACES = {"mm_struct.mp4": "c1", "yoga.mp4": "c2"}
"""Real takes of 10 s, and what their clips are called."""


def filled(table, **given):
    blanks = {pa.types.is_nested: [], pa.types.is_string: "", pa.types.is_boolean: False}
    row = {f.name: next((v for is_, v in blanks.items() if is_(f.type)), 0) for f in table.schema if not f.nullable}
    return row | given


@pytest.fixture(scope="module")
def made(model, footage, tmp_path_factory) -> Path:
    """A dataset of two real takes with latents and embeddings, packed; told of in two parts each."""
    root = tmp_path_factory.mktemp("dataset")
    rows: dict[Table, list] = {t: [] for t in (media.TABLE, clips.TABLE, captions.TABLE, sources.SOURCES)}
    for name, clip in PLACES.items():
        path = root / "clips" / f"{clip}.mp4"
        path.parent.mkdir(exist_ok=True)
        shutil.copy(footage / "footage/takes" / name, path)
        seconds, width, height = probe(io.BytesIO(path.read_bytes()))
        ids = {"clip_id": clip, "source_id": f"s{clip}"}
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        film = {"sha256": digest, "bytes": path.stat().st_size, "duration_s": seconds, "width": width, "height": height}
        rows[media.TABLE].append(filled(media.TABLE, **ids, path=f"clips/{clip}.mp4", **film))
        rows[clips.TABLE].append(filled(clips.TABLE, **ids, start_s=100.0, end_s=100 + seconds))
        rows[sources.SOURCES].append(filled(sources.SOURCES, source_id=ids["source_id"], user="{}"))
        for number, (level, start_s, end_s) in enumerate([("shot", 0, 10), ("clip", 0, 4.6), ("clip", 4.6, 10)]):
            told = {"level": level, "start_s": 100 + start_s, "end_s": 100 + end_s, "node_id": f"{clip}{number}"}
            text = f" {level} {number} of {name}, told &amp; retold. "
            rows[captions.TABLE].append(filled(captions.TABLE, **ids, **told, text=text, facts="{}", model="m"))
    inputs = {table.name: to_arrow(table, found) for table, found in rows.items()}
    empty = {t.name: t.schema.empty_table() for t in (motion.TABLE, quality.TABLE)}
    stages = (
        Latents(weights=str(model), **SIZE),
        TextEmbeddings(weights=str(model), tokens=64),
    )
    with open_workspace(str(root), lambda video_s: None) as work:
        for stage in stages:
            inputs[stage.writes.name] = to_arrow(stage.writes, list(stage.run(inputs, work)))
        packed = Pack(val_share=0).run({n: ds.dataset(t) for n, t in (inputs | empty).items()}, work)
        inputs["samples"] = pa.concat_tables(packed)
        list(Shard().run(inputs, work))
    pq.write_table(inputs["latents"], root / "latents.parquet")
    return root


@pytest.mark.slow
def test_a_run_of_the_engine_packs_them(model, footage, scheduler, tmp_path):
    recipe = yaml.safe_load(ENGINE.read_text())
    stages = dict(recipe["stages"])
    after = {name: stages.pop(name) for name in ("pack", "shard", "index")}
    stages |= {"latents": {"weights": str(model), **SIZE}, "text_embeddings": {"weights": str(model), "tokens": 64}}
    recipe["stages"] = stages | after
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    everything = ["takes.min_s=1", "screen.rules={}", "select.rules={}", "clips.preset=ultrafast", "pack.val_share=0"]
    dataset = str(tmp_path / "dataset")
    film = excerpt(footage / "footage/takes/mm_struct.mp4", tmp_path / "film.mp4", 4)

    def curated(*more: str) -> Summary:
        plan = recipes.load(str(tmp_path / "recipe.yaml"), [*everything, *more])
        with Reporter(Console(stderr=True), quiet=True) as reporter:
            return run(plan, [str(film)], dataset, reporter, Place(scheduler))

    assert curated().failed == 0
    (take,) = build_index(list_shards(tmp_path / "dataset" / "shards")).takes
    assert {LATENTS, TEXT} < set(take.members)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "dataset/clips").rglob("*")}
    # Another caption is embedded and packed; nothing is encoded again, and what is no longer named is gone.
    curated("tree.dark_below=255")
    kept = {path for path in (tmp_path / "dataset/clips").rglob("*") if path.is_file()}
    assert len(kept) == 3
    assert {p for p in kept if not p.name.endswith(TEXT)} <= set(files)


def video_of(path: Path, seconds: float) -> torch.Tensor:
    """A file's pictures at SIZE, 4k + 1 of them, uint8, shape (1, 3, frames, height, width), read in another way."""
    with av.open(str(path)) as container:
        frames = [(float(frame.time), frame) for frame in container.decode(video=0)]
    first = frames[0][0]
    times = [number / SIZE["fps"] for number in range(math.ceil(seconds * SIZE["fps"] - 1e-6))]
    shown = [max((f for f in frames if f[0] - first <= t + 1e-6), key=lambda f: f[0])[1] for t in times]
    shown = shown[: (len(shown) - 1) // 4 * 4 + 1]
    pictures = np.stack([fit(frame, SIZE["width"], SIZE["height"]) for frame in shown])
    return torch.from_numpy(pictures).permute(3, 0, 1, 2)[None]


def test_what_is_packed_is_what_the_vae_would_make_of_the_whole(made, model):
    index = build_index(list_shards(made / "shards"))
    assert [take.key for take in index.takes] == ["c1", "c2"]
    assert not index.notes
    generator = load_generator(model)
    rows = {row["clip_id"]: row for row in pq.read_table(made / "latents.parquet").to_pylist()}
    tars = Tars()
    for take in index.takes:
        assert set(take.members) == {"mp4", "json", "txt", LATENTS, TEXT}
        row = rows[take.key]
        clip = made / row["path"]
        assert clip.stat().st_size == row["bytes"] == take.members[LATENTS].size
        video = tars.read(index.shards[take.shard], take.members["mp4"])
        (made / "clip.mp4").write_bytes(video)
        pictures = video_of(made / "clip.mp4", take.seconds)
        (made / "clip.mp4").unlink()
        assert row["frames"] == pictures.shape[2]
        assert row["frames"] % 4 == 1
        whole = encode(generator.vae, to_pixels(pictures))
        file = tars.open(index.shards[take.shard], take.members[LATENTS])
        ours = read_latents(file, range(row["latents"]))
        assert ours.shape == whole.shape[1:]
        assert (ours - whole[0]).abs().max() < 2e-3 * whole.abs().max()  # float16


def test_embeddings_are_those_of_the_texts_in_the_sample(made, model):
    index = build_index(list_shards(made / "shards"))
    embed = load_generator(model).embedder(64)
    tars = Tars()
    for take in index.takes:
        shard = index.shards[take.shard]
        told = json.loads(tars.read(shard, take.members["json"]))
        texts = {node["text"].strip() for node in told["captions"] if node["level"] in ("clip", "shot")}
        stored = read_text(tars.read(shard, take.members[TEXT]))
        assert set(stored) == {"", tars.read(shard, take.members["txt"]).decode().strip(), *texts}
        for caption, rows in stored.items():
            wanted = embed([caption])[0]
            assert len(rows) <= 64
            assert torch.allclose(rows, wanted[: len(rows)], rtol=1e-2, atol=1e-2)  # bfloat16
            assert not wanted[len(rows) :].any()
        # A trainer that has them needs no encoder.
        from pipelines.longtune.text import TextEmbedder

        alone = TextEmbedder(None, None, 64)
        alone.remember(stored)
        assert torch.allclose(alone(list(stored)), embed(list(stored)), rtol=1e-2, atol=1e-2)
        with pytest.raises(TuneError, match="no embedding of the caption 'another'"):
            alone(["another"])


DATA = DataConfig.model_validate(
    {"frames": 33, "num_workers": 0, "input": "latents", "captions": {"level": "clip", "drop": 0}, **SIZE}
)


def test_windows_of_latents_keep_their_true_place(made):
    index = build_index(list_shards(made / "shards"))
    batches = list(islice(open_batches(index, DATA, LAYOUT, seed=1, cursor=Cursor()), 40))
    places = set()
    tars = Tars()
    for batch in batches:
        assert batch.video is None
        assert batch.latents.shape == (1, 4, 9, 4, 6)
        take = next(take for take in index.takes if batch.keys[0].endswith(take.key))
        numbers = batch.frames.tolist()
        places.add(numbers[3])
        assert numbers[:3] == [0, 1, 2]
        whole = read_latents(tars.open(index.shards[0], take.members[LATENTS]), range(take.latents.frames))
        assert batch.latents[0].equal(whole[:, numbers])
        assert batch.target.any()
        assert batch.captions[0] in batch.text
        # The caption is the one that is in force over every frame that counts.
        prompts = batch.timelines[0]
        for number in batch.frames[batch.target[0]].tolist():
            assert [p.text for p in prompts if p.frame <= number][-1] == batch.captions[0]
        if numbers[3] > 3:
            assert batch.frames[batch.target[0]].min() >= numbers[3] + LAYOUT.window - LAYOUT.block
    assert places == {3, 6, 9, 12, 15}


def test_a_take_of_latents_is_read_in_part(made):
    index = build_index(list_shards(made / "shards"))
    take = max(index.takes, key=lambda take: take.latents.frames)
    file = Tars().open(index.shards[take.shard], take.members[LATENTS])
    read_latents(file, [0, 1, *range(10, 14)])
    assert file.bytes_read < 2000 + 6 * 4 * 4 * 6 * 2


def test_latents_of_another_network_are_refused(made, model, tmp_path):
    index = build_index(list_shards(made / "shards"))
    check_latents(index, DATA, str(model))
    for part in ("vae", "text_encoder"):
        other = shutil.copytree(model, tmp_path / part)
        file = next((other / part).glob("*.safetensors"))
        tensors = load(file.read_bytes())
        name = sorted(tensors)[0]
        tensors[name] = tensors[name] + 1e-3
        file.write_bytes(save(tensors, {"format": "pt"}))
        what = {"vae": "VAE", "text_encoder": "text encoder"}[part]
        with pytest.raises(TuneError, match=rf"000000\.tar: .* encoded by another {what} .*weights: "):
            check_latents(index, DATA, str(other))
    check_latents(index, DATA.model_copy(update={"input": "video"}), "nowhere")
    with pytest.raises(TuneError, match="no such folder"):
        check_latents(index, DATA, str(tmp_path / "nowhere"))


def test_a_fingerprint_is_the_network_s_and_not_the_file_s(model, tmp_path):
    before = networks.fingerprint(model / "vae")
    load_generator(model).vae.save_pretrained(tmp_path / "again", max_shard_size="50KB")
    assert len(list((tmp_path / "again").glob("*.safetensors"))) > 1
    assert networks.fingerprint(tmp_path / "again") == before
    config = json.loads((tmp_path / "again/config.json").read_text())
    (tmp_path / "again").rename(tmp_path / "other")
    (tmp_path / "other/config.json").write_text(json.dumps(config | {"latents_mean": [0.0] * 4}))
    assert networks.fingerprint(tmp_path / "other") != before


def test_size_and_rate_must_be_a_bucket_s(made):
    index = build_index(list_shards(made / "shards"))
    with pytest.raises(TuneError, match="has latents of 48x32 at 8 fps, which no bucket"):
        next(open_batches(index, DATA.model_copy(update={"fps": 16}), LAYOUT, seed=0, cursor=Cursor()))


def test_the_streaming_encoder_is_the_encoder(model, footage):
    vae = load_generator(model).vae
    pictures = to_pixels(video_of(footage / "footage/takes/mm_struct.mp4", 4.2))
    encoder = StreamingEncoder(vae)
    latents = [latent for picture in pictures.split(1, dim=2) if (latent := encoder.push(picture)) is not None]
    whole = vae.encode(pictures).latent_dist.mode()
    assert (torch.cat(latents, dim=2) - whole).abs().max() <= 1e-6
    assert encoder.waiting == 0
    # A window that is encoded on its own is something else.
    alone = vae.encode(pictures[:, :, 16:]).latent_dist.mode()
    assert not torch.allclose(alone, whole[:, :, 4:], atol=1e-3)


def test_pictures_are_those_on_screen():
    times = [0.0, 0.04, 0.3, 0.31, 0.9]
    got = [(t, name) for t, name in sampled(((t, f"at {t}") for t in times), 10, 1.2)]
    assert [name for _, name in got] == [
        f"at {max(t for t in times if t <= number / 10 + 1e-6)}" for number in range(12)
    ]


@pytest.mark.parametrize("spoil", ["cut", "nan", "no type", "foreign", "empty"])
def test_broken_latents_are_bad_takes(made, tmp_path, spoil):
    index = build_index(list_shards(made / "shards"))
    take = index.takes[0]
    data = bytearray(Tars().read(index.shards[0], take.members[LATENTS]))
    if spoil == "cut":
        data = data[:-100]
    elif spoil == "nan":
        data[-200:] = b"\xff" * 200
    elif spoil == "no type":  # as a fuzzer found it
        data = data.replace(b'"dtype"', b'"dtyp&"')
    elif spoil == "foreign":
        data = bytearray(save({"x": torch.zeros(3)}))
    else:
        data = bytearray()
    path = tmp_path / "member"
    path.write_bytes(data)
    file = Tars().open(path, Member(0, len(data)))
    with pytest.raises(BadTakeError):
        read_latents(file, range(read_header(file).frames))
    with pytest.raises(BadTakeError):
        read_text(bytes(random.Random(0).randbytes(100)))
