"""What is planted in a set of captions is found, what was shifted is put back, and good captions pass."""

import json
import random
import re

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from faults import planted
from prose import prose
from scenario import scenario

from schemas import captions, tree
from stages.caption import grounded
from stages.caption.align import discriminant
from stages.caption.judge import Verify
from stages.caption.verify import Context, check

GOOD = [
    "A woman in a green coat walks along the pier while gulls circle above her. The camera follows her slowly.",
    "Two boys kick a ball against a brick wall; one of them laughs and runs out of view to the left.",
    "In a small kitchen a man chops onions, wipes his eyes and drops the pieces into a hot pan.",
    "The camera zooms in on an old clock as its hands move towards noon, and dust drifts through the light coming in.",
    "A dog lies on the carpet and watches a child build a tower of blocks, which falls over at the end.",
    "Cars pass on a wet road at dusk. Their headlights shine on the puddles, and a cyclist waits at the kerb.",
    "An elderly man reads a newspaper on a bench, folds it, stands up and walks away down the gravel path.",
    "Waves roll onto an empty beach under a pale sky.",
]
FACTS = {"start_s": 0.0, "seconds": 8.0, "sound": True}
STATIC = {"kind": "static", "start_s": 0.0, "end_s": 8.0}
SIGNS = ["NO SWIMMING IN THE HARBOUR", "TICKETS ARE SOLD ON BOARD", "HARBOUR MASTER", "KEEP CLEAR OF THE GANGWAY"]
NODE = {"level": "clip", "start_s": 0.0, "end_s": 8.0, "facts": FACTS}


@pytest.mark.parametrize("text", GOOD)
def test_good_captions_pass(text):
    assert check(NODE, {"text": text, "model": "openai:m"}, Context()) == []


@pytest.mark.parametrize(
    ("text", "facts", "flag"),
    [
        (None, {}, "empty"),
        ("I'm sorry, but I cannot help with describing this video.", {}, "refusal"),
        ("A man walks a dog. " * 5, {}, "loop"),
        ("A man walks along the river and then he begins to cross the", {}, "truncated"),
        ("A man walks by. The scene cuts to a close-up of his face as he smiles.", {}, "cut"),
        ("In the first frame a man stands. In the second frame he sits down.", {}, "frame"),
        ("A man walks by. At 12.5 s he turns round and waves at somebody.", {}, "time"),
        ("Ein Mann geht mit seinem Hund am Fluss entlang und sieht den Enten zu.", {}, "language"),
        ("The camera pans to the left across a valley.", {"camera": [STATIC]}, "measured"),
        ("A black-and-white shot of a street with people.", {"colour": "colourful"}, "measured"),
        ('A banner reads "GRAND CIRCUS TONIGHT".', {"text": [{"text": sign} for sign in SIGNS]}, "quote"),
        ('He lifts the lid of the old piano. He says: "Well." He lifts the lid of the old piano.', {}, "loop"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(text, facts, flag):
    flags = check(NODE | {"facts": FACTS | facts}, {"text": text, "model": "openai:m"}, Context())
    assert any(found.split(":")[0].startswith(flag) for found in flags), flags


def verified(rows, nodes):
    inputs = {
        "captions": ds.dataset(pa.Table.from_pylist(rows, captions.TABLE.schema)),
        "tree": ds.dataset(pa.Table.from_pylist(nodes, tree.TABLE.schema)),
    }
    return {row["node_id"]: row for part in Verify().run(inputs, None) for row in part.to_pylist()}


def test_planted_faults_are_found_and_shifted_captions_put_back():
    made, faults = planted(7)
    found = verified(made.captions, made.tree)
    assert len(found) == len(made.captions) >= 450
    wrong = {name for name, row in found.items() if not row["passed"] or row["text_from"]}
    assert len(wrong & faults.keys()) >= 0.95 * len(faults)
    assert len(wrong - faults.keys()) <= 0.02 * len(found)
    shifted = {name: fault for name, fault in faults.items() if fault.kind == "shifted"}
    assert sum(found[name]["text_from"] is not None for name in shifted) >= 0.8 * len(shifted)


def test_captions_of_equal_facts_are_no_copies():
    camera = [{"kind": "static", "start_s": 0.0, "end_s": 60.0}]
    rows, nodes = [], []
    for number in range(6):
        start = 10.0 * number
        node = dict.fromkeys(tree.TABLE.schema.names) | {
            "source_id": "s", "node_id": f"clip{number}", "level": "clip", "start_s": start, "end_s": start + 10,
            "kept": True, "split": "length",
        }  # fmt: skip
        facts = {"start_s": start, "seconds": 10.0, "sound": True, "camera": camera, "movement": "little"}
        nodes.append(node | {"facts": json.dumps(facts)})
        row = dict.fromkeys(captions.TABLE.schema.names) | {
            name: node.get(name) for name in captions.TABLE.schema.names
        }
        rows.append(row | {"facts": json.dumps(facts)} | grounded.caption(node, facts, []))
    found = verified(rows, nodes)
    assert all(row["passed"] and row["text_from"] is None for row in found.values())


def test_a_quote_may_be_misread_here_and_there():
    facts = FACTS | {"text": [{"text": sign} for sign in SIGNS]}
    for quote in ("TICKETS ARE SOLD ON B0ARD", "TICKETS ARE SOLD", "KEEP CLEAR OF THE GANGWAY", "N0 SWIMMING"):
        row = {"text": f'A sign reads "{quote}".', "model": "openai:m"}
        assert check(NODE | {"facts": facts}, row, Context()) == [], quote


def test_captions_in_natural_prose_pass():
    nodes, rows = prose()
    assert len(rows) == 40
    flagged = [row for row in verified(rows, nodes).values() if not row["passed"] or row["text_from"]]
    assert len(flagged) <= 1, flagged


def test_natural_sentences_of_another_event_are_found_though_it_has_few_captions():
    nodes, rows = prose()
    rng, planted_, found, wrongly = random.Random(0), 0, 0, 0
    events = [row["node_id"].split("-")[2].rstrip("0123456789") for row in rows]
    for n in rng.sample(range(40), 20):
        other = rng.choice([m for m in range(40) if events[m] != events[n]])
        changed = [dict(row) for row in rows]
        strange = max(sentences(rows[other]["text"]), key=len)
        changed[n]["text"] = f"{strange} {rows[n]['text']}"
        flagged = {name for name, row in verified(changed, nodes).items() if not row["passed"]}
        planted_ += 1
        found += rows[n]["node_id"] in flagged
        wrongly += len(flagged - {rows[n]["node_id"]})
    assert found >= planted_ / 3
    assert wrongly <= planted_ / 4


def sentences(text):
    return re.split(r"(?<=[.!?])\s", text)


def flags_of(found, name):
    return {flag.split(":")[0] for flag in found[name]["flags"]}


def test_a_strange_sentence_is_found_in_the_parent_too_that_was_made_of_it():
    made = scenario(5)
    rows = {row["node_id"]: row for row in made.captions}
    clips = [row for row in made.captions if row["level"] == "clip"]
    clip, other = clips[100], next(row for row in clips[300:] if "sleeves" not in row["text"])
    assert made.event[clip["node_id"]] != made.event[other["node_id"]]
    shot = rows[clip["parent_id"]]
    strange = sentences(other["text"])[0]
    for row in (clip, shot):
        row["text"] = f"{row['text']} {strange}"
    found = verified(made.captions, made.tree)
    assert "mixing" in flags_of(found, clip["node_id"]) & flags_of(found, shot["node_id"])
    assert found[shot["parent_id"]]["passed"]
    assert found[other["node_id"]]["passed"]


def test_the_original_of_a_copy_that_stands_in_another_event_passes():
    made = scenario(6)
    clips = [row for row in made.captions if row["level"] == "clip"]
    original, copy = clips[30], clips[330]
    copy["text"] = original["text"]
    found = verified(made.captions, made.tree)
    assert found[original["node_id"]]["passed"]
    assert "duplicate" in flags_of(found, copy["node_id"])


@pytest.mark.parametrize("seed", range(4))
def test_a_likeness_that_tells_nothing_weighs_little(seed):
    noise = np.random.default_rng(seed).normal(size=(3, 60, 60))
    plain, plainer = noise[0] + 3 * np.eye(60, k=2), noise[1] + 6 * np.eye(60, k=2)
    of_noise = discriminant(plain, noise[2])
    assert of_noise[1] < 0.2
    assert np.isclose(of_noise.sum(), 1)
    one, other = discriminant(plain, plainer)
    assert 0.2 < one < other
