"""What is planted in a set of captions is found, what was shifted is put back, and good captions pass."""

import json

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from faults import planted

from schemas import captions, tree
from stages.caption import grounded
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
    assert len(wrong & faults.keys()) >= 0.9 * len(faults)
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
