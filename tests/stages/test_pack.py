"""A sample's .json holds every table of scores that the recipe has, and no vectors."""

import json

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from curate.dataset import to_arrow
from schemas import captions, clips, media, motion, quality, sources
from stages.shard import Pack

OTHERS = sorted(set(Pack.reads_if_there) - {"caption_checks"})


def blank(table, **given):
    # The least that a row of the table needs.
    row = {
        f.name: []
        if pa.types.is_nested(f.type)
        else ""
        if pa.types.is_string(f.type)
        else False
        if pa.types.is_boolean(f.type)
        else 0
        for f in table.schema
        if not f.nullable
    }
    return ds.dataset(to_arrow(table, [row | given]))


def test_every_table_of_scores_that_is_there_is_in_the_json():
    ids = {"clip_id": "c", "source_id": "s"}
    vector = pa.list_(pa.float32())
    scores = pa.table(
        {
            "clip_id": ["c"],
            "source_id": ["s"],
            "share": [0.25],
            "words": [["EXIT"]],
            "vector": pa.array([[0.1] * 512], vector),
            "vectors": pa.array([[[0.1] * 512]], pa.list_(vector)),
            "box": pa.array([[0, 0, 1, 1]], pa.list_(pa.float32(), 4)),
            "jpeg": pa.array([b"x"]),
        }
    )
    inputs = {
        "media": blank(media.TABLE, **ids, fps=24.0),
        "clips": blank(clips.TABLE, **ids, end_s=12.0),
        "captions": blank(captions.TABLE, **ids, level="shot", end_s=12.0, text="A take."),
        "motion": blank(motion.TABLE, **ids, mean_w_s=0.5),
        "quality": ds.dataset(quality.TABLE.schema.empty_table()),
        "sources": blank(sources.SOURCES, source_id="s", user="{}").filter(pc.field("source_id") == "s"),
        **{name: ds.dataset(scores) for name in OTHERS},
    }
    (made,) = Pack().run(inputs, None)
    told = json.loads(made["json"][0].as_py())["scores"]
    assert set(told) == {"motion", "quality", *OTHERS}
    assert told["motion"]["mean_w_s"] == 0.5
    assert told["quality"] == {}
    for name in OTHERS:
        assert told[name] == {"share": 0.25, "words": ["EXIT"], "box": [0, 0, 1, 1]}
