"""A Parquet file of a dataset tells by itself that it is not what was written, wherever the damage is."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.dataset import Dataset, to_arrow
from curate.parts import DamagedError, damage, encode, encode_part
from schemas import errors

ROWS = [
    {
        "source_id": f"{n:032x}",
        "path": f"{n}.mp4",
        "stage": "flow",
        "error": "ValueError",
        "message": "sha256:" + "0" * 64,
    }
    for n in range(50)
]
WHOLE = encode_part(errors.TABLE, [to_arrow(errors.TABLE, ROWS)], {"recipe": "engine", "seal": "longtake.seal"})


def told(data):
    return damage(io.BytesIO(data))


def test_a_whole_part_is_whole_and_reads_as_any_parquet():
    assert told(WHOLE) is None
    assert pq.read_table(io.BytesIO(WHOLE)).select(list(ROWS[0])).to_pylist() == ROWS
    assert set(pq.read_schema(io.BytesIO(WHOLE)).metadata) == {b"longtake"}


def test_the_same_rows_give_the_same_bytes():
    again = encode_part(errors.TABLE, [to_arrow(errors.TABLE, ROWS)], {"seal": "longtake.seal", "recipe": "engine"})
    assert again == WHOLE


@given(st.integers(0, len(WHOLE) * 8 - 1))
def test_any_flipped_bit_is_noticed(bit):
    data = bytearray(WHOLE)
    data[bit // 8] ^= 1 << bit % 8
    assert told(bytes(data))


def test_every_flipped_bit_of_the_footer_is_noticed():
    """Where the seal itself is, and what says where it is."""
    for bit in range((len(WHOLE) - 600) * 8, len(WHOLE) * 8):
        data = bytearray(WHOLE)
        data[bit // 8] ^= 1 << bit % 8
        assert told(bytes(data)), bit


@given(st.integers(0, len(WHOLE) - 1))
def test_a_part_torn_anywhere_is_noticed(size):
    assert told(WHOLE[:size])


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 4096), st.binary(min_size=1, max_size=1))
def test_a_block_written_over_is_noticed(start, length, filling):
    data = WHOLE[:start] + (filling * length)[: len(WHOLE) - start] + WHOLE[start + length :]
    assert data == WHOLE or told(data)


def test_bytes_too_many_are_noticed():
    assert told(WHOLE + b"PAR1")
    assert told(WHOLE + WHOLE)


def test_what_an_earlier_version_wrote_is_taken_as_it_is():
    buffer = io.BytesIO()
    pq.write_table(to_arrow(errors.TABLE, ROWS), buffer)
    assert told(buffer.getvalue()) is None
    assert told(buffer.getvalue()[:-20])


def test_any_tables_can_be_sealed_with_an_index_beside_them():
    rows = pa.table({"a": [1, 2, 3]})
    data = encode(rows.schema, [rows, rows], {"index": "0 3"})
    assert told(data) is None
    with pq.ParquetFile(io.BytesIO(data)) as file:
        assert file.num_row_groups == 2
        assert file.metadata.metadata[b"index"] == b"0 3"


def test_reading_a_damaged_part_names_it(tmp_path):
    dataset = Dataset(str(tmp_path))
    dataset.write(dataset.part("errors", "k"), WHOLE[:100] + b"?" + WHOLE[101:])
    with pytest.raises(DamagedError, match=r"tables/errors/k.parquet is damaged: its bytes are not those"):
        dataset.read_part(errors.TABLE, "k")
