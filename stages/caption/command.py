"""`curate caption`: how good a dataset's captions are (`eval`), whether people find them true (`audit`), and a better
instruction for whoever writes them (`tune`)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import pyarrow.dataset as ds
import typer

from curate.books import read_recipe
from curate.commands import FAILED, WRONG_USE, DatasetArgument, JsonOption, existing, plain_errors, stop
from curate.dataset import Dataset
from curate.workspace import open_workspace
from schemas import Table, caption_checks, captions, characters, clips, faces, media, sources, speech, stills, tree
from stages.caption.describe import describe
from stages.caption.protocol import Backend, BackendError
from stages.caption.sight import Sight
from stages.caption.stage import Caption

caption = typer.Typer(help="Judge a dataset's captions, and tune who writes them.", no_args_is_help=True)

OverridesOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="caption.parameter=value over the dataset's recipe, such as caption.backend=openai."),
]
LevelOption = Annotated[str, typer.Option(help="clip, shot, event or story.")]
Row = dict[str, Any]
FIRST = "Describe what happens in this part of a video, in order and in plain words. Say only what can be seen."
"""The instruction that tuning begins with."""


@contextmanager
def captioner(place: Dataset, overrides: Sequence[str]) -> Iterator[tuple[Caption, Backend]]:
    """The dataset's stage `caption` with overrides on top, and the model that it asks."""
    stage = read_recipe(place, overrides).writer(captions.TABLE.name)
    if not isinstance(stage, Caption) or stage.backend == "grounded":
        stop("name a model: --set caption.backend=openai --set caption.openai.model=NAME, or transformers", WRONG_USE)
    with open_workspace(place.url) as work:
        yield stage, stage.asker(work)


@caption.command("eval")
def evaluate(
    dataset: DatasetArgument,
    reference: Annotated[
        Path | None, typer.Option(help="ActivityNet's JSON, or CSV or Parquet with path, start_s, end_s, text.")
    ] = None,
    dialogue: Annotated[
        Path | None,
        typer.Option(help='JSON {video: {"utterances": [{start, end, character, text}]}}, or of one video.'),
    ] = None,
    level: LevelOption = "shot",
    ask: Annotated[bool, typer.Option("--ask", help="Have the questions and probes answered.")] = False,
    overrides: OverridesOption = None,
    seed: Annotated[int, typer.Option(help="Of questions and probes.")] = 0,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for questions.jsonl and eval.json.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Measure the captions: times, repetition and checks; against a reference; by questions. Without --set the weak
    lexical reader answers them, with it the model that it names."""
    from stages.caption.evaluate import ask as asking
    from stages.caption.evaluate import free, likeness, probes, questions, spans
    from stages.caption.evaluate import reference as references
    from stages.caption.evaluate.shown import show

    with plain_errors():
        _known(level)
        rows = _captions(dataset)
        checks = {row["node_id"]: row for row in _rows(dataset, caption_checks.TABLE)}
        paths = {row["source_id"]: row["path"] for row in _rows(dataset, sources.SOURCES)}
        found: dict[str, Any] = free.report(rows, checks)
        if reference:
            try:
                told = references.by_source(references.read(reference), paths)
            except references.ReferenceError as error:
                stop(str(error), WRONG_USE)
            if not told:
                stop(f"{reference}: none of its videos is a source of {dataset}", WRONG_USE)
            mine: dict[str, list[spans.Span]] = {source: [] for source in told}
            for row in rows:
                if row["source_id"] in mine and row["level"] == level and row["text"]:
                    mine[row["source_id"]].append(spans.Span(row["start_s"], row["end_s"], row["text"]))
            try:
                scores = spans.against(mine, told, likeness.meteor)
                texts = likeness.corpus(spans.matched(mine, told))
            except ImportError as error:
                stop(f"{error}: pip install 'longtake[eval]'", FAILED)
            found["reference"] = {"level": level, "videos": len(told), "meteor": likeness.meteor_name()} | scores
            found["reference"]["matched"] = texts
        found["dialogue"] = _dialogue(rows, dialogue, paths, dataset, level)
        made = questions.build(rows, seed)
        found["questions"] = {"made": len(made)}
        verdicts: list[Mapping[str, Any]] = []
        if ask or overrides:
            reader = "lexical overlap (weak, no model)"
            with captioner(existing(dataset), overrides) if overrides else nullcontext() as asked:
                answers = asking.by_model(asked[1]) if asked else None
                try:
                    summary, verdicts = asking.run(made, rows, answers or asking.lexical)
                    swaps = probes.run(probes.build(rows, seed), rows, answers or probes.lexical)
                except BackendError as error:
                    stop(str(error), FAILED)
            found["questions"] |= {"answered_by": asked[1].name if asked else reader} | summary
            found["probes"] = swaps
        if output:
            output.mkdir(parents=True, exist_ok=True)
            judged = {row["question_id"]: row for row in verdicts}
            lines = [json.dumps({**asdict(q), **judged.get(q.question_id, {})}, ensure_ascii=False) for q in made]
            (output / "questions.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            (output / "eval.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    if json_output:
        typer.echo(json.dumps(found))
    else:
        show(found)


@caption.command()
def audit(
    dataset: DatasetArgument,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for the sheet.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, max=10_000, help="Captions in the sample.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    read: Annotated[Path | None, typer.Option(help="A filled CSV: say what share of it was judged true.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Write a sheet (HTML and CSV) on which people judge a sample of captions; or read one that was filled in."""
    from stages.caption.evaluate import audit as sheet

    with plain_errors():
        if read:
            try:
                result = sheet.read(read.read_text(encoding="utf-8"))
            except (sheet.SheetError, UnicodeDecodeError) as error:
                stop(f"{read}: {error}", WRONG_USE)
        elif output:
            chosen = sheet.sample(_captions(dataset), n, seed)
            output.mkdir(parents=True, exist_ok=True)
            (output / "audit.html").write_text(sheet.page(chosen, _links(dataset, chosen), dataset), encoding="utf-8")
            (output / "audit.csv").write_text(sheet.table(chosen), encoding="utf-8", newline="")
            result = {"captions": len(chosen), "page": str(output / "audit.html"), "csv": str(output / "audit.csv")}
        else:
            stop("say -o FOLDER to write a sheet, or --read FILE to read one", WRONG_USE)
    typer.echo(json.dumps(result, indent=None if json_output else 1))


@caption.command()
def tune(
    dataset: DatasetArgument,
    overrides: OverridesOption = None,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Instructions tried.")] = 5,
    n: Annotated[int, typer.Option("--n", min=1, max=1000, help="Nodes captioned in each round.")] = 20,
    level: LevelOption = "shot",
    reference: Annotated[Path | None, typer.Option(help="Score by SODA_c against it, as `eval` reads it.")] = None,
    first: Annotated[str, typer.Option(help="The instruction to begin with.")] = FIRST,
    history: Annotated[Path, typer.Option(help="JSONL of the rounds; a stopped loop goes on from it.")] = Path(
        "tune.jsonl"
    ),
    json_output: JsonOption = False,
) -> None:
    """Look for an instruction under which the captions score better (ViSMaP); print it as a line to paste."""
    from stages.caption import tune as loop
    from stages.caption.evaluate import likeness, spans
    from stages.caption.evaluate import reference as references

    with plain_errors():
        _known(level)
        nodes = sorted((r for r in _rows(dataset, tree.TABLE) if r["level"] == level), key=lambda r: r["node_id"])
        told: dict[str, list[spans.Span]] = {}
        try:
            if reference:
                paths = {row["source_id"]: row["path"] for row in _rows(dataset, sources.SOURCES)}
                told = references.by_source(references.read(reference), paths)
                nodes = [row for row in nodes if row["source_id"] in told]
            nodes = nodes[:: max(1, len(nodes) // n)][:n]
            if not nodes:
                stop(f"{dataset}: has no node of level {level} to caption", WRONG_USE)

            def score(rows: Any) -> loop.Score:
                if not told:
                    return loop.free_score(rows)
                mine = {s: [] for s in {row["source_id"] for row in nodes}}  # type: dict[str, list[spans.Span]]
                for row in rows:
                    if row["text"]:
                        mine[row["source_id"]].append(spans.Span(row["start_s"], row["end_s"], row["text"]))
                value = spans.against(mine, {s: told[s] for s in mine}, likeness.meteor)["soda_c"]
                return loop.Score(value["f1"], tuple(f"SODA_c {name}: {of:.3f}" for name, of in value.items()))

            place = existing(dataset)
            with captioner(place, overrides or []) as (stage, asked):
                generate = _generate(stage, asked, place, nodes)
                best = loop.optimise(generate, score, loop.reviser(asked), rounds, " ".join(first.split()), history)
        except (references.ReferenceError, loop.HistoryError) as error:
            stop(str(error), WRONG_USE)
        except BackendError as error:
            stop(f"{error}; the rounds done are in {history}", FAILED)
        except ImportError as error:
            stop(f"{error}: pip install 'longtake[eval]'", FAILED)
    line = loop.setting(best.instruction)
    typer.echo(json.dumps({**asdict(best), "set": line}) if json_output else line)


def _rows(dataset: str, table: Table) -> list[Row]:
    return existing(dataset).scan(table).to_table().to_pylist()


def _captions(dataset: str) -> list[Row]:
    rows = _rows(dataset, captions.TABLE)
    if not rows:
        stop(f"{dataset}: has no captions; run a recipe with the stage caption first", WRONG_USE)
    return rows


def _known(level: str) -> None:
    if level not in tree.LEVELS:
        stop(f"--level {level}: is none of {', '.join(tree.LEVELS)}", WRONG_USE)


def _dialogue(rows: list[Row], file: Path | None, paths: Mapping[str, str], dataset: str, level: str) -> Any:
    """Attribution and name recall by level `level`, against the file; else against the names of the subtitles and, for
    lines that these leave open, of the table `dialogue`, which shows what captions make of it, not whether it is right.
    Null without either."""
    from stages.caption.evaluate import dialogue
    from stages.caption.evaluate.reference import by_source

    lines: dict[str, list[Row]] = defaultdict(list)
    cast: dict[str, list[str]] = {}
    if file:
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
            told = {file.stem: told} if "utterances" in told else told
            found = by_source({video: [video] for video in told}, paths)  # type: ignore[arg-type]
            for source, (video,) in found.items():
                cast[source] = [str(name) for name in told[str(video)].get("characters", ())]
                lines[source] = [
                    {"start_s": x["start"], "end_s": x["end"], "speaker": x.get("character"), "text": x.get("text")}
                    for x in told[str(video)]["utterances"]
                ]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            stop(f"{file}: is no dialogue: {error!r}", WRONG_USE)
        if not lines:
            stop(f"{file}: none of its videos is a source of {dataset}; name it by the file or its id", WRONG_USE)
    else:
        who = {(r["source_id"], r["start_s"], r["end_s"]): r["name"] for r in _rows(dataset, characters.DIALOGUE)}
        for row in _rows(dataset, speech.TABLE):
            if row["kind"] == "speech":
                name = row["speaker"] or who.get((row["source_id"], row["start_s"], row["end_s"]))
                text = None if row["weak"] else row["text"]
                lines[row["source_id"]].append(row | {"text": text, "speaker": name})
    shown: dict[str, list[Row]] = defaultdict(list)
    for face in [] if file else _rows(dataset, faces.FACES):
        shown[face["source_id"]].append(face)
    scores = []
    for source, heard in lines.items():
        mine = [row for row in rows if row["source_id"] == source and row["level"] == level]
        scores.append(dialogue.score(mine, heard, cast.get(source, ()), shown[source]))
    return dialogue.total(scores) if scores else None


def _links(dataset: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Where a node's clip plays: in its take's own file, or else in its source, at its time."""
    place = existing(dataset)
    starts = {row["clip_id"]: row["start_s"] for row in _rows(dataset, clips.TABLE)}
    files = {row["clip_id"]: row["path"] for row in _rows(dataset, media.TABLE)}
    paths = {row["source_id"]: row["path"] for row in _rows(dataset, sources.SOURCES)}
    links = {}
    for row in rows:
        clip = row["clip_id"]
        own = clip in files and clip in starts
        file, zero = (place.path(files[clip]), starts[clip]) if own else (paths.get(row["source_id"]), 0.0)
        if file and (url := _url(file)):
            links[row["node_id"]] = f"{url}#t={max(row['start_s'] - zero, 0):.2f},{max(row['end_s'] - zero, 0):.2f}"
    return links


def _url(path: str) -> str | None:
    """A file's address for a browser; None for one that browsers do not open."""
    if "://" in path:
        return quote(path, safe=":/?=&%") if urlsplit(path).scheme in ("http", "https") else None
    return Path(path).as_uri() if path.startswith("/") else None


def _generate(stage: Caption, asked: Backend, place: Dataset, nodes: Sequence[Row]) -> Callable[[str], list[Row]]:
    """Has the model caption the nodes under an instruction, as the stage would; what is not answered is flagged."""
    by_source: dict[str, list[Row]] = defaultdict(list)
    for node in nodes:
        by_source[node["source_id"]].append(node)
    scan = place.scan(stills.TABLE)
    shown = {s: scan.to_table(["t_s", "jpeg"], filter=ds.field("source_id") == s).sort_by("t_s") for s in by_source}

    def generate(instruction: str) -> list[Row]:
        how = stage.model_copy(update={"instruction": instruction})
        rows = {
            node["node_id"]: {**node, "text": None, "flags": ["reply: none"], "model": asked.name} for node in nodes
        }
        for source, mine in by_source.items():
            for row in describe(mine, Sight(shown[source], how.frames), asked, how, how.faulty, {}):
                if isinstance(row, dict):
                    rows[row["node_id"]] = row
        return list(rows.values())

    return generate
