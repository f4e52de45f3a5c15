"""A cast as a table: the same people whatever its format, and every fault with its file, row and cure."""

import csv
import json
import os
import re
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stages.faces import cast, members
from stages.faces.members import CastError
from stages.faces.people import People

ROWS = [
    {"name": "Joe Biden", "photo": "pictures/biden.jpg", "description": "A senator.", "aliases": "Joe;Uncle Joe"},
    {"name": "Barack Obama", "photo": "pictures/obama.jpg", "aliases": ""},
    {"name": "Ann Lee", "description": "Nobody has a photo of her."},
]


@pytest.fixture
def folder(footage, tmp_path):
    (tmp_path / "pictures").mkdir()
    for name in ("biden", "obama"):
        shutil.copy(footage / "faces" / name / "1.jpg", tmp_path / "pictures" / f"{name}.jpg")
    return tmp_path


def as_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)


WRITERS = {
    "csv": as_csv,
    "json": lambda path, rows: path.write_text(json.dumps(rows)),
    "yaml": lambda path, rows: path.write_text(yaml.safe_dump(rows)),
    "parquet": lambda path, rows: pq.write_table(pa.Table.from_pylist(rows), path),
}


def write(folder, rows, kind="json"):
    path = folder / f"cast.{kind}"
    WRITERS[kind](path, rows)
    return path


def told(path):
    with pytest.raises(CastError) as caught:
        members.members(path)
    return str(caught.value)


@pytest.mark.parametrize("kind", WRITERS)
def test_the_same_people_whatever_the_format(kind, folder):
    joe, barack, ann = members.members(write(folder, ROWS, kind))
    assert (joe.name, joe.description, joe.aliases) == ("Joe Biden", "A senator.", ("Joe", "Uncle Joe"))
    assert joe.photos == (folder / "pictures/biden.jpg",)
    assert (barack.description, barack.aliases) == (None, ())
    assert (ann.photos, ann.voices) == ((), ())


def test_lists_stand_for_several_and_a_table_names_faces_as_a_folder_does(folder):
    path = write(folder, [{"name": "Joe Biden", "photo": ["pictures/biden.jpg"], "aliases": ["Joe"]}, ROWS[1], ROWS[2]])
    known = cast.read(str(path), members.digest(path), "libfacedetection", lambda: None)
    assert known.names == ("Joe Biden", "Barack Obama")  # who has no photo has no face
    assert known.owners == (0, 1)
    before = People(cast=str(path))
    assert People.model_validate(before.model_dump(mode="json")) == before
    write(folder, [{**row, "description": "Another."} for row in ROWS])
    assert People(cast=str(path)).cast_sha256 != before.cast_sha256


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ({"photo": "pictures/obama.jpg"}, r"row 4: has no name; fill it in"),
        ({"name": 7}, r"row 4: has no name"),
        ({"name": "joe biden"}, r"row 4 \(joe biden\): .*row 1 \(Joe Biden\) has that name, too; join the rows"),
        ({"name": "Bo", "aliases": "joe"}, r"row 4 \(Bo\): its alias 'joe' is also of .*row 1"),
        ({"name": "Bo", "aliases": "Ann Lee"}, r"row 4 \(Bo\): its alias 'Ann Lee' is also of .*row 3"),
        ({"name": "Bo", "aliases": [7]}, r"row 4 \(Bo\): its aliases is neither text nor a list of texts; quote it"),
        ({"name": "Bo", "description": ["x"]}, r"row 4 \(Bo\): its description is no text; quote it"),
        ({"name": "Bo", "photo": "none.jpg"}, r"row 4 \(Bo\): the photo 'none.jpg' is not there; paths count from"),
        ({"name": "Bo", "photo": "pictures"}, r"row 4 \(Bo\): the photo 'pictures' is not there"),
        ({"name": "Bo", "photo": "../secret.jpg"}, r"'../secret.jpg' lies outside of .*; put it there, or below"),
        ({"name": "Bo", "photo": "/etc/passwd"}, r"'/etc/passwd' lies outside of"),
        ({"name": "Bo", "voice": "link.wav"}, r"the voice 'link.wav' lies outside of"),
        ({"name": "Bo", "photo": "a\0b.jpg"}, r"the photo 'ab.jpg' is not there"),
        ({"name": "Bo", "photo": "cast.json"}, r"cast.json: .json is not read; give JPEG, PNG or WebP"),
        ({"name": "B" * 101}, r"a name of 101 characters"),
        ({"name": "Bo", "photos": "pictures/biden.jpg"}, r"the column 'photos' is not read; is 'photo' meant\?"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_its_cure(row, wrong, folder):
    os.symlink("/etc/hostname", folder / "link.wav")
    assert re.search(r"cast.json: .*" + wrong if wrong.startswith("row") else wrong, told(write(folder, [*ROWS, row])))


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("cast.csv", "name,photo\n", "has no row; give one for each person"),
        ("cast.csv", "who,photo\nAnn,a.jpg\n", "lacks the column 'name'; it has who, photo"),
        ("cast.csv", "name,photo\nLee, Ann,a.jpg\n", ".*row 1 has more fields than the head; quote"),
        ("cast.csv", b"name\nJos\xe9\n", "is no UTF-8 .*save it as UTF-8"),
        ("cast.json", "{", "cannot be read as json"),
        ("cast.json", "[" * 100_000, "cannot be read as json"),
        ("cast.json", '{"Ann": "a.jpg"}', "is no table; it is a list of"),
        ("cast.yaml", "!!python/object/apply:os.system [true]", "cannot be read as yaml"),
        ("cast.parquet", "PAR1", "cannot be read as parquet"),
        ("cast.txt", "Ann", "is no cast; give a folder of photos or a table"),
    ],
)
def test_files_that_are_no_cast(name, text, wrong, tmp_path):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert re.search(f"{name}: {wrong}", told(tmp_path / name))


def test_a_table_that_is_not_there_and_one_that_is_too_long(tmp_path, monkeypatch):
    assert "no such file; give a table with the columns name" in told(tmp_path / "cast.csv")
    monkeypatch.setattr(members, "MOST_MEMBERS", 2)
    assert "more than 2 people" in told(write(tmp_path, ROWS))
    monkeypatch.setattr(members, "MOST_TABLE_BYTES", 10)
    assert "leave out what is long" in told(tmp_path / "cast.json")


def test_photos_of_a_table_are_refused_with_their_rows(folder):
    shutil.copy(folder / "pictures/biden.jpg", folder / "again.jpg")
    (folder / "text.png").write_text("<script>")
    path = write(folder, [*ROWS, {"name": "Bo", "photo": "again.jpg"}, {"name": "Cy", "photo": "text.png"}])
    with pytest.raises(CastError) as caught:
        cast.read(str(path), members.digest(path), "libfacedetection", lambda: None)
    lines = sorted(str(caught.value).splitlines(), key=len)
    assert re.search(r"row 5 \(Cy\): .*text.png: cannot be read as a photo", lines[0])
    assert re.search(r"row 1 \(Joe Biden\).*row 4 \(Bo\).*two names, 'Joe Biden' and 'Bo', for one face", lines[1])


TEXTS = st.none() | st.integers() | st.text("aB;./\0é ", max_size=6)


@given(st.lists(st.dictionaries(st.sampled_from(members.COLUMNS), TEXTS), max_size=4))
def test_whatever_a_table_holds_it_is_people_or_a_fault(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("cast") / "cast.json"
    path.write_text(json.dumps(rows))
    try:
        found, faults = members.members(path), ""
    except CastError as error:
        found, faults = [], str(error)
    assert all(line.startswith(str(path)) for line in faults.splitlines())
    assert all(member.name and member.name.isprintable() for member in found)
    assert faults or len({member.name.casefold() for member in found}) == len(rows)
