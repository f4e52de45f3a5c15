"""Grounded captions say nothing that was not measured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.caption.stage import CAMERA, Caption, sentences

CLIP = {"clip_id": "c", "source_id": "s", "start_s": 0.0, "end_s": 12.0, "duration_s": 12.0}


def optional(strategy):
    return st.one_of(st.none(), strategy)


@given(
    optional(st.sampled_from(sorted(CAMERA))),
    optional(st.floats(0, 1)),
    optional(st.floats(0, 255)),
    optional(st.floats(0, 110)),
    optional(st.sampled_from(["red", "blue"])),
    st.booleans(),
)
def test_each_measured_fact_and_no_other_is_said(camera, subject, luma, colour, hue, sound):
    motion = {"camera": camera, "subject_w_s": subject}
    quality = {"luma": luma, "colourfulness": colour, "hue": hue}
    facts = Caption().facts(CLIP, motion, quality, sound)
    text = sentences(facts)
    assert text.endswith(".")
    assert "None" not in text
    assert "  " not in text
    assert all(sentence[0].isupper() for sentence in text.split(". "))
    assert ("camera" in text) == (camera is not None)
    assert ("move" in text.replace("camera moves", "")) == (subject is not None)
    assert ("without sound" in text) == (not sound)
    assert ("mostly" in text) == (colour is not None and hue is not None and colour >= 8)
    assert ("dark" in text) == (luma is not None and luma < 60)
    assert ("black-and-white" in text) == (colour is not None and colour < 8)


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (
            {"seconds": 12.0, "sound": True, "camera": "static", "movement": "much", "light": "dark", "hue": "blue"},
            "A single continuous take of 12 seconds. The camera stands still while there is a lot of movement in the "
            "scene. The picture is dark, mostly blue.",
        ),
        (
            {"seconds": 10.4, "sound": False, "camera": "pan left", "movement": "little", "hue": "red"},
            "A single continuous take of 10.4 seconds, without sound. The camera pans to the left and little of the "
            "scene moves by itself. The picture is mostly red.",
        ),
        ({"seconds": 10.0, "sound": True, "movement": "some"},
         "A single continuous take of 10 seconds. There is some movement in the scene."),
    ],
)  # fmt: skip
def test_sentences_read_well(facts, text):
    assert sentences(facts) == text
