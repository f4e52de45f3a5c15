"""`screening`: which clips the dear models look at, decided from the cheap scores."""

from schemas import Table, decisions

TABLE = Table(
    "screening",
    1,
    "A clip and the verdict of the cheap scores. What is out here is out in `decisions`, with these reasons first.",
    decisions.TABLE.schema,
)
