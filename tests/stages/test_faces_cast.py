"""A cast's photos: what can be read is, and what could put a wrong name on a face is refused with its file and cure."""

import re

import numpy as np
import pytest
from PIL import Image

from stages.faces import cast, members
from stages.faces.members import CastError
from stages.faces.people import People


def read(folder):
    return cast.read(str(folder), members.digest(folder), "libfacedetection", lambda: None)


@pytest.fixture
def photo(footage):
    """A photo of one person, and of another."""
    faces = footage / "faces"
    return Image.open(faces / "obama/1.jpg").convert("RGB"), Image.open(faces / "biden/2.jpg").convert("RGB")


def test_files_and_folders_of_photos_are_one_person_each_whatever_their_format(photo, tmp_path):
    one, other = photo
    (tmp_path / "one").mkdir()
    one.save(tmp_path / "one/a.png")
    one.resize((455, 568)).save(tmp_path / "one/b.webp")
    see_through = other.convert("RGBA")
    see_through.putalpha(200)
    see_through.save(tmp_path / "other.png")
    (tmp_path / "notes.txt").write_text("no photo")
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    known = read(tmp_path)
    assert known.names == ("one", "other")
    assert known.owners == (0, 0, 1)
    a, b, c = known.embeddings
    assert np.linalg.norm(a - b) < 0.3
    assert np.linalg.norm(a - c) > 0.6
    assert known.apart(b) == pytest.approx([0, np.linalg.norm(b - c)], abs=1e-6)


def test_a_photo_lying_on_its_side_is_turned_as_its_exif_says(photo, tmp_path):
    one, _ = photo
    one.save(tmp_path / "upright.png")
    turned, exif = one.transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "side").mkdir()
    turned.save(tmp_path / "side/one.jpg", exif=exif, quality=95)
    apart = [read_one(tmp_path / "upright.png"), read_one(tmp_path / "side/one.jpg")]
    assert np.linalg.norm(apart[0] - apart[1]) < 0.2


def read_one(path):
    return cast._face(path, "libfacedetection").embedding


def test_every_photo_that_cannot_be_used_is_named_with_its_cure(photo, footage, tmp_path):
    one, other = photo
    both = Image.new("RGB", (1000, 570))
    both.paste(one.resize((456, 570)), (0, 0))
    both.paste(other.resize((544, 544)), (456, 0))
    both.save(tmp_path / "both.jpg")
    one.save(tmp_path / "a.jpg")
    one.resize((500, 625)).save(tmp_path / "b.jpg")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8)).save(tmp_path / "noise.png")
    (tmp_path / "cut.jpg").write_bytes((footage / "faces/biden/1.jpg").read_bytes()[:3000])
    (tmp_path / "text.png").write_text("<script>")
    with pytest.raises(CastError) as caught:
        read(tmp_path)
    lines = str(caught.value).splitlines()
    for file, what in [
        ("both.jpg", "shows 2 faces.*crop it"),
        ("noise.png", "no face that can be found; give a photo"),
        ("cut.jpg", "cannot be read.*save it again"),
        ("text.png", "cannot be read.*save it again"),
        ("a.jpg.*b.jpg", "two names, 'a' and 'b', for one face.*take one away"),
    ]:
        assert [line for line in lines if re.search(f"{file}.*{what}", line)], (file, lines)
    assert len(lines) == 5


def test_pictures_beyond_any_photo_are_not_decoded(tmp_path, monkeypatch):
    Image.new("1", (9000, 9000)).save(tmp_path / "bomb.png")
    with pytest.raises(CastError, match=r"bomb.png: 9000 x 9000 px are too large"):
        read(tmp_path)
    monkeypatch.setattr(members, "MOST_BYTES", 100)
    with pytest.raises(CastError, match=r"bomb.png: .* make it smaller"):
        members.members(tmp_path)


def test_folders_that_are_no_cast(tmp_path, monkeypatch):
    with pytest.raises(CastError, match="no such folder"):
        members.members(tmp_path / "none")
    with pytest.raises(CastError, match="holds no photo"):
        members.members(tmp_path)
    for name in ("Ann.jpg", "ann.png", "bob.heic"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(CastError, match=r"(?s)bob.heic: .heic is not read; convert it.*'Ann' and 'ann' are one name"):
        members.members(tmp_path)
    (tmp_path / "ann.png").unlink()
    (tmp_path / "bob.heic").rename(tmp_path / "bob.jpg")
    monkeypatch.setattr(members, "MOST_PHOTOS", 1)
    with pytest.raises(CastError, match="more than 1 photos"):
        members.members(tmp_path)


def test_a_cast_that_changed_names_anew_and_a_recipe_of_another_is_refused(photo, tmp_path):
    one, other = photo
    one.save(tmp_path / "one.png")
    before = People(cast=str(tmp_path))
    assert People.model_validate(before.model_dump(mode="json")) == before
    other.save(tmp_path / "other.png")
    assert People(cast=str(tmp_path)).cast_sha256 != before.cast_sha256
    assert People.model_validate(before.model_dump(mode="json")) == before  # as a dataset's recipe has it
    with pytest.raises(CastError, match="run again"):
        cast.read(str(tmp_path), before.cast_sha256, "libfacedetection", lambda: None)
