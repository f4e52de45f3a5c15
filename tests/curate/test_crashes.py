"""A run killed in front of any operation on the dataset's files is completed by the next: a sample, seeded.

`tests/benchmarks/crashes.py` takes all of them.
"""

import random

import pytest
from crashes import SETTINGS, attempt, footage, operations
from difference import difference
from engine import curate

SAMPLE = 3


@pytest.fixture(scope="module")
def films(request, tmp_path_factory):
    return footage(request.getfixturevalue("footage"), tmp_path_factory.mktemp("films"))


@pytest.mark.slow
def test_killed_before_an_operation_and_repeated_equals_undisturbed(films, scheduler, tmp_path):
    expected, count = tmp_path / "expected", tmp_path / "count"
    assert attempt(films, expected, count).returncode == 0
    listed = operations(count)
    assert {"os.rename", "os.remove", "os.mkdir", "open"} == {line.split()[0] for line in listed}
    # One of each third.
    starts = range(0, len(listed), len(listed) // SAMPLE)[:SAMPLE]
    for number in [start + random.Random(5).randrange(1, len(listed) // SAMPLE) for start in starts]:
        output = tmp_path / str(number)
        assert attempt(films, output, count, number).returncode == -9
        assert len(operations(count)) == number
        curate([films], output, scheduler, SETTINGS)
        assert not difference(expected, output), operations(count)[-1]
