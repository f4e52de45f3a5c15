"""What a Dask worker does with a task: reads its input rows, runs its stages, commits their rows, sends a receipt.

Only receipts go back to the client; rows go from the worker into the dataset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import yaml

from curate import recipe
from curate.dataset import Dataset
from curate.folder import storage_fault, storage_told
from curate.remote import StoreError
from curate.stage import DamagedError
from curate.work.context import PROGRESS, Context, JobError, Receipt, Task, task_name, tell_begun
from curate.work.ingest import ingest
from curate.work.rows import group
from curate.work.source import interval, quarantine, source
from curate.work.tables import digests, merge, pack, table

KINDS: Mapping[str, Callable[[Context, Task], Receipt]] = {
    "ingest": ingest,
    "interval": interval,
    "source": source,
    "quarantine": quarantine,
    "group": group,
    "table": table,
    "digests": digests,
    "pack": pack,
    "merge": merge,
}


def perform(dataset_url: str, recipe_text: str, tasks: Sequence[Task], ticket: str | None = None) -> list[Receipt]:
    """Do a batch of tasks, one after the other.

    Args:
        ticket: what whoever watches the run knows the batch by; told there before anything is done.

    Raises:
        JobError: the dataset cannot be written, or a table stage failed.
    """
    if ticket is not None:
        tell_begun(ticket)
    context = Context(Dataset(dataset_url), _recipe(recipe_text))
    receipts = []
    for task in tasks:
        try:
            receipts.append(KINDS[task["kind"]](context, task))
        except DamagedError as error:
            context.dataset.remove(error.path)  # what is not there is made anew
            raise JobError(f"{dataset_url}: {error}; run the same command again, which makes it anew") from error
        except StoreError as error:
            raise JobError(str(error)) from None
        except OSError as error:
            if number := storage_fault(error):
                raise JobError(storage_told(number, dataset_url)) from error
            raise JobError(f"{dataset_url}: {error}; mend it and run the same command again") from error
    return receipts


def dump(plan: recipe.Recipe) -> str:
    """A recipe as the text that `perform` takes."""
    return yaml.safe_dump(plan.dump(), sort_keys=False, allow_unicode=True)


@lru_cache(maxsize=8)
def _recipe(text: str) -> recipe.Recipe:
    return recipe.parse(text, "recipe")


__all__ = ["PROGRESS", "JobError", "Receipt", "Task", "dump", "perform", "task_name"]
