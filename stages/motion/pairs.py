"""Sample pairs of a series as arrays: what the stages that sum up a clip read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.stage import Row

EPSILON_S = 1e-9
"""Times that are equal may differ by so much once they have been through sums."""


@dataclass(frozen=True)
class Pairs:
    """Rows of a series that have a sample before them."""

    columns: Mapping[str, np.ndarray]
    """Numbers as float64, NaN where null."""
    steps: list[list[Row]]
    """The camera's steps in each pair, where the series has them."""
    reasons: list[str | None]
    """Why a pair's nulls are null, where the series says so."""

    @classmethod
    def of(cls, series: pa.Table) -> Pairs:
        """The pairs of a `motion_series` or a `vector_series`."""
        rows = series.filter(pc.is_valid(series["previous_s"]))
        numbers = [f.name for f in rows.schema if pa.types.is_floating(f.type) or pa.types.is_integer(f.type)]
        nothing: list[None] = [None] * len(rows)
        return cls(
            {name: rows[name].to_numpy().astype(float) for name in numbers},
            [steps or [] for steps in (rows["steps"].to_pylist() if "steps" in rows.column_names else nothing)],
            rows["unmeasured"].to_pylist() if "unmeasured" in rows.column_names else list(nothing),
        )

    def inside(self, start_s: float, end_s: float) -> Pairs:
        """The pairs that lie wholly in a clip."""
        first = int(np.searchsorted(self["previous_s"], start_s - EPSILON_S))
        end = max(first, int(np.searchsorted(self["t_s"], end_s - EPSILON_S)))
        columns = {name: values[first:end] for name, values in self.columns.items()}
        return Pairs(columns, self.steps[first:end], self.reasons[first:end])

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.steps)
