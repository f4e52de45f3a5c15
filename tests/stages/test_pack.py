"""A sample's .json holds every table of scores that the recipe has, and no vectors."""

import json

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from curate.dataset import to_arrow
from schemas import captions, characters, clips, faces, media, motion, quality, sources
from stages.pack import MADE, PEOPLE, Pack

OTHERS = sorted(set(Pack.reads_if_there) - {"caption_checks", *PEOPLE, *MADE})


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


IDS = {"clip_id": "c", "source_id": "s"}


def taken(start_s=0.0, **more):
    """The tables of a source with one take of 12 s, and others."""
    end_s = start_s + 12
    return {
        "media": blank(media.TABLE, **IDS, fps=24.0),
        "clips": blank(clips.TABLE, **IDS, start_s=start_s, end_s=end_s),
        "captions": blank(captions.TABLE, **IDS, level="shot", start_s=start_s, end_s=end_s, text="A take."),
        "motion": blank(motion.TABLE, **IDS, mean_w_s=0.5),
        "quality": ds.dataset(quality.TABLE.schema.empty_table()),
        "sources": blank(sources.SOURCES, source_id="s", user="{}").filter(pc.field("source_id") == "s"),
        **more,
    }


def test_who_is_there_is_in_the_json_with_times_from_the_takes_start():
    face = IDS | {"person_id": "p", "label": "unknown 1", "model": "m"}
    seen = [blank(faces.FACES, **face, start_s=a, end_s=b) for a, b in ((90, 103), (105, 106), (200, 210))]
    line = {"source_id": "s", "label": "Ann", "name": "Ann"}
    said = [
        blank(characters.DIALOGUE, **line, start_s=99, end_s=101, text="Hullo.", confidence=0.9),
        blank(characters.DIALOGUE, **line, start_s=102, end_s=104, text="Hollow.", weak=True),
    ]
    ann = blank(characters.CHARACTERS, source_id="s", people=["p"], label="Ann", name="Ann")
    people = {"faces": ds.dataset(seen), "dialogue": ds.dataset(said), "characters": ann}
    (made,) = Pack().run(taken(100.0, **people), None)
    told = json.loads(made["json"][0].as_py())
    assert told["seen"] == [{"label": "Ann", "name": "Ann", "seen_s": 4.0}]
    hullo, weak = told["dialogue"]
    assert (hullo["start_s"], hullo["end_s"], hullo["name"], hullo["text"]) == (0.0, 1.0, "Ann", "Hullo.")
    assert (weak["start_s"], weak["end_s"], weak["text"]) == (2.0, 4.0, None)
    (made,) = Pack().run(taken(100.0, faces=ds.dataset(seen)), None)
    told = json.loads(made["json"][0].as_py())
    assert [row["label"] for row in told["seen"]] == ["unknown 1"]
    assert "dialogue" not in told


def test_every_table_of_scores_that_is_there_is_in_the_json():
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
    inputs = taken(**{name: ds.dataset(scores) for name in OTHERS})
    (made,) = Pack().run(inputs, None)
    told = json.loads(made["json"][0].as_py())["scores"]
    assert set(told) == {"motion", "quality", *OTHERS}
    assert told["motion"]["mean_w_s"] == 0.5
    assert told["quality"] == {}
    for name in OTHERS:
        assert told[name] == {"share": 0.25, "words": ["EXIT"], "box": [0, 0, 1, 1]}
