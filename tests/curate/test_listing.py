"""From what the user typed to files: folders, globs, lists, odd names, and object stores."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.folder import fetched
from curate.listing import ESCAPED, InputError, decoded, encoded, listing


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode(errors="surrogateescape"))


def relative(root: Path, found: object) -> list[str]:
    return sorted(os.path.relpath(path, root) for path in found)  # type: ignore[attr-defined]


def test_file_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4", "recording")
    found = listing([str(tmp_path / "a.mp4"), str(tmp_path / "recording")])
    assert relative(tmp_path, found.files) == ["a.mp4", "recording"]
    one = found.files[str(tmp_path / "a.mp4")]
    assert (one.bytes, one.failure, one.user) == (5, None, "{}")


def test_folder_is_searched_and_counts_what_it_passes_over(tmp_path: Path) -> None:
    make(tmp_path, "b.MKV", "deep/er/a.webm", "notes.txt", ".hidden.mp4", "deep/._a.webm", "deep/poster.jpg")
    found = listing([str(tmp_path)])
    assert relative(tmp_path, found.files) == ["b.MKV", "deep/er/a.webm"]
    assert found.passed_over == 4


def test_empty_folder_has_nothing(tmp_path: Path) -> None:
    assert listing([str(tmp_path)]).files == {}


def test_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "films/a.mp4")
    monkeypatch.chdir(tmp_path)
    assert list(listing(["films"]).files) == list(listing(["./films/../films/a.mp4"]).files)


def test_glob(tmp_path: Path) -> None:
    make(tmp_path, "a1.mp4", "a2.mp4", "b1.mp4", "c/a3.mp4")
    assert relative(tmp_path, listing([str(tmp_path / "a*.mp4")]).files) == ["a1.mp4", "a2.mp4"]
    assert relative(tmp_path, listing([str(tmp_path / "**/a*.mp4")]).files) == ["a1.mp4", "a2.mp4", "c/a3.mp4"]


def test_glob_without_a_match_is_a_failure(tmp_path: Path) -> None:
    (one,) = listing([str(tmp_path / "*.mp4")]).files.values()
    assert one.failure == "nothing matches this pattern"


def test_missing_path_is_a_failure(tmp_path: Path) -> None:
    (one,) = listing([str(tmp_path / "gone.mp4")]).files.values()
    assert one.failure == "there is no such file"
    assert one.path == str(tmp_path / "gone.mp4")


def test_special_file_is_a_failure(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "broken.mp4").symlink_to("nowhere")
    failures = {os.path.basename(f.path): f.failure for f in listing([str(tmp_path)]).files.values()}
    assert failures == {"pipe.mp4": "is no regular file", "broken.mp4": "there is no such file"}


def test_fingerprint_follows_the_content(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4")
    path = tmp_path / "a.mp4"
    before = listing([str(path)]).files[str(path)].fingerprint
    assert listing([str(path)]).files[str(path)].fingerprint == before
    path.write_bytes(b"other")
    assert listing([str(path)]).files[str(path)].fingerprint != before


ODD = [
    "two words.mp4",
    " leading and trailing .mp4",
    'it\'s "quoted".mp4',
    "line\nbreak.mp4",
    "映画 фильм é.mp4",
    "[brackets].mp4",
    "a*b?.mp4",
    "50%20 #1 & more.mp4",
    "12::30.mp4",
    "c:colon.mp4",
    "back\\slash.mp4",
    "~tilde.mp4",
    "$HOME.mp4",
    os.fsdecode(b"caf\xe9 \xff.mp4"),
]


@pytest.mark.parametrize("name", ODD)
def test_odd_names(tmp_path: Path, name: str) -> None:
    make(tmp_path, name)
    for given in (str(tmp_path), str(tmp_path / name)):
        found = listing([given])
        (one,) = found.files.values()
        assert one.failure is None
        one.path.encode()  # fit for a table
        assert decoded(one.path) == str(tmp_path / name)
    # Taken from a table, the path is a name again, here and where the file is opened.
    (again,) = listing([one.path]).files.values()
    assert again == one
    with fetched(decoded(one.path)) as local:
        assert Path(local).read_bytes() == os.fsencode(name)


def test_bytes_that_are_no_text_survive_a_table() -> None:
    name = os.fsdecode(b"/films/caf\xe9 100%.mp4")
    assert encoded(name) == ESCAPED + "/films/caf%E9%20100%25.mp4"
    assert decoded(encoded(name)) == name
    assert encoded("/films/é.mp4") == "/films/é.mp4"


@pytest.mark.parametrize("name", ODD[:-1])
def test_odd_names_in_a_csv_list(tmp_path: Path, name: str) -> None:
    make(tmp_path, "films/" + name)
    with open(tmp_path / "list.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "year"], [f"films/{name}", "1999"], [f"films/{name}", "1999"]])
    (one,) = listing([str(tmp_path / "list.csv")]).files.values()
    assert (one.path, one.failure, one.user) == (str(tmp_path / "films" / name), None, '{"year": 1999}')


def test_list_keeps_own_columns(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4", "sub/b.mp4")
    rows = pa.table({"path": ["a.mp4", str(tmp_path / "sub/b.mp4"), None], "title": ["A", None, "C"], "n": [1, 2, 3]})
    pq.write_table(rows, tmp_path / "list.parquet")
    found = listing([str(tmp_path / "list.parquet")]).files
    assert {os.path.basename(p): f.user for p, f in found.items()} == {
        "a.mp4": '{"n": 1, "title": "A"}',
        "b.mp4": '{"n": 2}',
    }


def test_list_names_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path\ngone.mp4\n")
    (one,) = listing([str(tmp_path / "list.csv")]).files.values()
    assert (one.path, one.failure) == (str(tmp_path / "gone.mp4"), "there is no such file")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"file,year\na.mp4,1999\n", "column named 'path'"),
        (b"", "cannot be read"),
        (b"path\n\xff\xfe\n", "cannot be read"),
    ],
)
def test_list_that_is_none(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(InputError, match=says):
        listing([str(tmp_path / "list.csv")])


def test_list_whose_names_look_like_numbers_or_dates(tmp_path: Path) -> None:
    make(tmp_path, "2024", "2023-01-01", "NULL")
    (tmp_path / "list.csv").write_text("path,episode\n2024,001\n2023-01-01,002\nNULL,003\n")
    found = listing([str(tmp_path / "list.csv")]).files
    assert relative(tmp_path, found) == ["2023-01-01", "2024", "NULL"]
    (tmp_path / "one.csv").write_text("path\n2024\n")
    assert relative(tmp_path, listing([str(tmp_path / "one.csv")]).files) == ["2024"]


def test_list_written_by_a_spreadsheet(tmp_path: Path) -> None:
    """With a byte order mark and Windows line ends."""
    make(tmp_path, "a.mp4")
    (tmp_path / "list.csv").write_bytes(b"\xef\xbb\xbfpath,title\r\na.mp4,A\r\n")
    assert relative(tmp_path, listing([str(tmp_path / "list.csv")]).files) == ["a.mp4"]


def test_same_file_twice_is_one(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4")
    (tmp_path / "list.csv").write_text("path,title\na.mp4,A\n")
    for order in (1, -1):
        (one,) = listing([str(tmp_path), str(tmp_path / "list.csv")][::order]).files.values()
        assert one.user == '{"title": "A"}'


def test_same_content_under_two_names_stays_two_paths(tmp_path: Path) -> None:
    make(tmp_path, "a.mp4")
    os.link(tmp_path / "a.mp4", tmp_path / "b.mp4")
    (tmp_path / "c.mp4").symlink_to("a.mp4")
    assert relative(tmp_path, listing([str(tmp_path)]).files) == ["a.mp4", "b.mp4", "c.mp4"]


def test_filesystem_that_is_not_known() -> None:
    with pytest.raises(InputError, match="nosuch"):
        listing(["nosuch://bucket/a.mp4"])


def test_remote_folder() -> None:
    memory = fsspec.filesystem("memory")
    for name in ("/films/a.mp4", "/films/deep/b c.mkv", "/films/notes.txt"):
        memory.pipe_file(name, b"film")
    found = listing(["memory://films"])
    assert sorted(found.files) == ["memory:///films/a.mp4", "memory:///films/deep/b c.mkv"]
    assert found.passed_over == 1
    memory.rm("/films", recursive=True)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket on an S3 server of our own."""
    boto3 = pytest.importorskip("boto3")
    server_module = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="films")
    yield "films"
    fsspec.filesystem("s3").clear_instance_cache()
    server.stop()


def test_object_store(bucket: str) -> None:
    import boto3

    client = boto3.client("s3")
    for key in ("raw/a.mp4", "raw/deep/b c.mkv", "raw/notes.txt", "raw/映画.mp4"):
        client.put_object(Bucket=bucket, Key=key, Body=b"film")
    client.put_object(Bucket=bucket, Key="raw/list.csv", Body=b"path,title\na.mp4,A\n/no,B\n")
    found = listing([f"s3://{bucket}/raw"])
    assert sorted(found.files) == ["s3://films/raw/a.mp4", "s3://films/raw/deep/b c.mkv", "s3://films/raw/映画.mp4"]
    assert {f.bytes for f in found.files.values()} == {4}
    assert sorted(listing(["s3://films/raw/*.mp4"]).files) == ["s3://films/raw/a.mp4", "s3://films/raw/映画.mp4"]
    listed = listing(["s3://films/raw/list.csv"]).files
    assert listed["s3://films/raw/a.mp4"].user == '{"title": "A"}'
    gone = listing(["s3://films/raw/gone.mp4"]).files["s3://films/raw/gone.mp4"]
    assert gone.failure == "there is no such file"
    with fetched("s3://films/raw/deep/b c.mkv") as local:
        assert Path(local).read_bytes() == b"film"
    before = found.files["s3://films/raw/a.mp4"].fingerprint
    client.put_object(Bucket=bucket, Key="raw/a.mp4", Body=b"mlif")
    fsspec.filesystem("s3").invalidate_cache()
    assert listing([f"s3://{bucket}/raw"]).files["s3://films/raw/a.mp4"].fingerprint != before
