"""The Hugging Face Hub, or a server that speaks as it does (`HF_ENDPOINT`): a dataset repository to publish to.

Files go there by their content's checksum, so that one which was sent before a push was killed is not sent again. One
commit makes them the dataset; of very many files the data comes first, the page with the last commit. Nobody's token is
handled here: `huggingface_hub` reads it from where `hf auth login` or HF_TOKEN put it.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from pipelines.push.files import CARD, Change, File, PushError, change

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

_T = TypeVar("_T")

SCHEME = "hf://datasets/"
_SHA1 = 40
"""Hex digits of git's own checksum, by which a small file goes."""
_NAME = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+?)/?")

BATCH = 50
"""Files sent between two messages; of a dataset on an object store as many are on the local disk at once."""
OPERATIONS = 2000
"""Files of a commit at most. The Hub's advice is fewer than a thousand or so for an answer in time; pointers to large
files, which most are here, cost little."""
TRIES = 6
WAIT_S = 2.0
"""How often a server that fails is asked again, and for how long at first; twice as long each time, a minute in all."""
_AGAIN = frozenset({408, 409, 412, 429, 500, 502, 503, 504})
"""Answers after which the same is asked again. 409 and 412: the branch has moved, which an own commit does whose answer
was lost; what is to be done is then found anew."""


class HubTarget:
    """A dataset repository."""

    def __init__(self, url: str, private: bool) -> None:
        named = _NAME.fullmatch(url)
        if named is None:
            raise PushError(f"{url}: write it as {SCHEME}ORG/NAME")
        try:
            from huggingface_hub.utils import disable_progress_bars
        except ImportError as error:
            raise PushError(f"{error}; for {SCHEME} install 'longtake[hf]'") from error
        disable_progress_bars()  # a line now and then is said here; logs are no terminals
        self.name = self.link = named[1]
        self._private = private

    @cached_property
    def _api(self) -> HfApi:
        from huggingface_hub import HfApi, get_token

        if not get_token():
            raise PushError("nobody is logged in to the Hub: run `hf auth login`, or set HF_TOKEN")
        return HfApi(library_name="longtake")

    # -- what is there -------------------------------------------------------------------------------------------------

    def _head(self) -> str | None:
        """The commit at which the repository stands; None: there is no repository."""
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            info = self._api.dataset_info(self.name)
        except RepositoryNotFoundError:
            return None
        if self._private and info.private is False:
            raise PushError(
                f"{self.name} is there and public, and --private was asked for; make it private in its settings first, "
                "or leave the option out"
            )
        return str(info.sha)

    def _tree(self) -> dict[str, str | None]:
        """Checksum of each file: SHA-256 of a large one, git's of a small one."""
        from huggingface_hub.hf_api import RepoFile

        entries = self._api.list_repo_tree(self.name, repo_type="dataset", recursive=True)
        files = [entry for entry in entries if isinstance(entry, RepoFile)]
        return {file.path: file.lfs.sha256 if file.lfs else file.blob_id for file in files}

    def page(self) -> str:
        """README.md as it stands there; empty: there is none."""
        with _plainly(self.name):
            if self._head() is None or CARD not in self._tree():
                return ""
            path = self._api.hf_hub_download(self.name, CARD, repo_type="dataset", force_download=True)
        with open(path, encoding="utf-8") as file:
            return file.read()

    def compare(self, wanted: Iterable[File]) -> Change:
        with _plainly(self.name):
            return self._compare(wanted) if self._head() is not None else change(wanted, {}, lambda file: file.sha256)

    def _compare(self, wanted: Iterable[File]) -> Change:
        there = self._tree()

        def checksum(file: File) -> str:
            known = there[file.path] or ""
            return _git_blob(file) if len(known) == _SHA1 else file.sha256

        return change(wanted, there, checksum)

    # -- what is done --------------------------------------------------------------------------------------------------

    def apply(self, wanted: Iterable[File], message: str, say: Callable[[str], None]) -> tuple[Change, str | None]:
        files = list(wanted)
        with _plainly(self.name):
            self._asked(lambda: self._create(), say)
            first: Change | None = None

            def once() -> str | None:
                nonlocal first
                head, todo = self._head(), self._compare(files)
                first = first or todo
                return self._commit(todo, message, head, say) if todo else None

            url = self._asked(once, say)
        assert first is not None  # noqa: S101 - it was asked at least once
        return first, url

    def _create(self) -> None:
        if self._head() is None:
            self._api.create_repo(self.name, repo_type="dataset", private=self._private, exist_ok=True)

    def _commit(self, todo: Change, message: str, head: str | None, say: Callable[[str], None]) -> str:
        from huggingface_hub import CommitOperationDelete

        sent: list[CommitOperationAdd] = []
        for group in _groups(todo.upload, BATCH):
            sent += self._send(group)
            if len(todo.upload) > BATCH:
                say(f"{len(sent)} of {len(todo.upload)} files, {_gb(todo, len(sent))}")
        gone = [CommitOperationDelete(path_in_repo=path, is_folder=False) for path in todo.delete]
        # The page is the last of the files, so the last commit has it, and what it no longer speaks of is gone then.
        early, last = _parted(sent, gone)
        for number, part in enumerate(early, start=1):
            told = self._api.create_commit(
                self.name, part, commit_message=f"{message} (data, {number})", repo_type="dataset", parent_commit=head
            )
            head = told.oid
        told = self._api.create_commit(self.name, last, commit_message=message, repo_type="dataset", parent_commit=head)
        return str(told.commit_url)

    def _send(self, group: Iterable[File]) -> list[CommitOperationAdd]:
        """Files on their way: their content is at the Hub afterwards, and they may be committed."""
        from huggingface_hub import CommitOperationAdd

        with ExitStack() as locals_:
            operations = []
            for file in group:
                local = locals_.enter_context(file.local())
                small = file.path.endswith((".md", ".json"))  # these go with the commit itself
                add = CommitOperationAdd(file.path, local.read_bytes() if small else str(local))
                found = add.upload_info.sha256.hex()
                if found != file.sha256:
                    raise PushError(f"{file.path} is not what its table says (another checksum); run curate run again")
                operations.append(add)
            self._api.preupload_lfs_files(self.name, operations, repo_type="dataset", free_memory=True)
            for add in operations:
                if add._upload_mode == "regular" and isinstance(add.path_or_fileobj, str):
                    with open(add.path_or_fileobj, "rb") as held:
                        add.path_or_fileobj = held.read()
        return operations

    def squash(self, say: Callable[[str], None]) -> int:
        """Leave one commit, and of large files those that it names: what was removed is then nowhere in the repository.

        Returns:
            How many large files of old versions were deleted.
        """
        with _plainly(self.name):
            self._asked(lambda: self._api.super_squash_history(self.name, repo_type="dataset"), say)
            named = set(self._tree().values())
            listed = self._api.list_lfs_files(self.name, repo_type="dataset")
            old = [file for file in listed if not {file.oid, file.file_oid} & named]
            if old:
                self._asked(
                    lambda: self._api.permanently_delete_lfs_files(
                        self.name, old, rewrite_history=False, repo_type="dataset"
                    ),
                    say,
                )
        return len(old)

    def _asked(self, ask: Callable[[], Any], say: Callable[[str], None]) -> Any:
        """The answer, asked for again where the server is busy or fails."""
        from huggingface_hub.errors import HfHubHTTPError

        for attempt in range(1, TRIES + 1):
            try:
                return ask()
            except HfHubHTTPError as error:
                status = error.response.status_code if error.response is not None else 0
                if status not in _AGAIN or attempt == TRIES:
                    raise
                wait = _wait(error.response.headers.get("retry-after"), attempt)
                say(f"the Hub answers {status}; asked again in {wait:.0f} s")
                time.sleep(wait)
        raise AssertionError("the last try returns or raises")


def _wait(asked: str | None, attempt: int) -> float:
    return min(float(asked), 300.0) if asked and asked.isdecimal() else WAIT_S * 2 ** (attempt - 1)


def _parted(
    sent: list[CommitOperationAdd], gone: list[CommitOperationDelete]
) -> tuple[list[list[CommitOperationAdd]], list[CommitOperationAdd | CommitOperationDelete]]:
    """The commits before the last one, and the last one."""
    if len(sent) + len(gone) <= OPERATIONS:
        return [], [*sent, *gone]
    pages = [op for op in sent if "/" not in op.path_in_repo]
    data = [op for op in sent if "/" in op.path_in_repo]
    return _groups(data, OPERATIONS), [*pages, *gone]


def _groups(items: Sequence[_T], size: int) -> list[list[_T]]:
    return [list(items[at : at + size]) for at in range(0, len(items), size)]


def _gb(todo: Change, files: int) -> str:
    return f"{sum(f.bytes for f in todo.upload[:files]) / 1e9:.2f} of {todo.bytes / 1e9:.2f} GB"


def _git_blob(file: File) -> str:
    with file.local() as local:
        data = local.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@contextmanager
def _plainly(name: str) -> Iterator[None]:
    """What the Hub refuses, in words."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        told = error.server_message or f"it answers {status}"
        if status in (401, 403, 404):
            raise PushError(
                f"{name}: the Hub refuses: {told}; log in with a token that may write there (`hf auth login`), and "
                "mind the organisation's name"
            ) from None
        raise PushError(f"{name}: the Hub fails: {told}; the same command goes on from here") from None
    except (errors.HTTPError, RuntimeError, ValueError) as error:
        told = " ".join(str(error.__cause__ or error).split())[:300]
        raise PushError(f"{name}: the Hub cannot be reached: {told}; the same command goes on from here") from None
