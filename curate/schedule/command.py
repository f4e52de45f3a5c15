"""`curate schedule …`: run a recipe again and again over what is new."""

from __future__ import annotations

import json
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text
from tzlocal import get_localzone_name

from curate import recipe as recipes
from curate.commands import FAILED, WRONG_USE, JsonOption, plain_errors, stop
from curate.commands.placed import placed
from curate.place import Place
from curate.remote import checked
from curate.schedule.store import Schedule, ScheduleError, Store, faults
from curate.terminal import legible, whole_table

schedule = typer.Typer(help="Run a recipe again and again over what is new.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The schedule's name.", metavar="NAME")]


@contextmanager
def _plain() -> Iterator[None]:
    with plain_errors():
        try:
            yield
        except ScheduleError as error:
            stop(str(error), WRONG_USE)


@schedule.command()
@placed
def add(
    name: Name,
    recipe: Annotated[str, typer.Argument(help="A bundled recipe's name or a YAML file.")],
    inputs: Annotated[
        list[str], typer.Option("-i", "--input", help="As of `curate run`; looked through anew each time.")
    ],
    output: Annotated[str, typer.Option("-o", "--output", help="The dataset directory.")],
    cron: Annotated[str, typer.Option(help="When: minute hour day-of-month month day-of-week, such as '0 2 * * *'.")],
    timezone: Annotated[str | None, typer.Option(help="Of the hours; by default this machine's.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="stage.parameter=value over the recipe.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what failed, every time.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="A run with failed sources or clips is a failed run.")
    ] = False,
    longest_h: Annotated[float | None, typer.Option("--longest-h", help="Stop a run after so many hours.")] = None,
    fail_over: Annotated[
        float | None, typer.Option("--fail-over", help="As of `curate compare`, against the run before.")
    ] = None,
    on_failure: Annotated[
        str | None, typer.Option("--on-failure", help="Program to start, with the run as JSON on stdin.")
    ] = None,
    webhook: Annotated[
        str | None, typer.Option("--webhook", help="Address that gets a failed run as JSON by POST.")
    ] = None,
    *,
    place: Place,
) -> None:
    """Remember a recipe, its inputs and when to run it. `curate schedule serve` then does."""
    with _plain():
        recipes.load(recipe, overrides or [])  # a mistake is told now, not at two in the morning
        try:
            made = Schedule(
                name=name,
                recipe=_lasting(recipe),
                inputs=[_absolute(given) for given in inputs],
                output=_absolute(output),
                cron=cron,
                timezone=timezone or get_localzone_name(),
                created=datetime.now(UTC).replace(microsecond=0),
                overrides=overrides or [],
                **vars(place.absolute()),
                retry_failed=retry_failed,
                strict=strict,
                longest_h=longest_h,
                fail_over=fail_over,
                on_failure_command=shlex.split(on_failure) if on_failure else [],
                on_failure_webhook=webhook,
            )
        except ValidationError as error:
            stop(faults(error), WRONG_USE)
        path = Store().add(made)
    due = made.due_after(datetime.now(UTC)).isoformat(timespec="minutes")
    typer.echo(f"{path}: next due {due}; curate schedule serve runs it", err=True)


@schedule.command("list")
def list_(json_output: JsonOption = False) -> None:
    """Show the schedules: when they are due, and how their latest run ended."""
    with _plain():
        store = Store()
        rows = [_listed(store, name) for name in store.names()]
    if json_output:
        typer.echo(json.dumps(rows))
        return
    if not rows:
        typer.echo(f"no schedules in {store.folder}; curate schedule add makes one")
        return
    table = whole_table("name", "recipe", "cron", "next due (UTC)", "latest run", "dataset")
    for row in rows:
        if "error" in row:
            table.add_row(_text(row["name"]), _text(row["error"]))
            continue
        latest = f"{row['latest']['began']} {row['latest']['state']}" if row["latest"] else "none yet"
        table.add_row(
            row["name"],
            _text(row["recipe"]),
            f"{row['cron']} {row['timezone']}",
            row["next"],
            latest,
            _text(row["output"]),
        )
    Console().print(table)


@schedule.command()
def history(
    name: Name,
    most: Annotated[int, typer.Option("--last", min=1, help="Show at most this many of the latest runs.")] = 20,
    json_output: JsonOption = False,
) -> None:
    """Show a schedule's runs: how they ended, what they left, how long they took."""
    with _plain():
        store = Store()
        if not (store.folder / name).is_dir():
            store.get(name)  # says what there is, if it is not there
        rows = store.history(name)[-most:]
    if json_output:
        typer.echo(json.dumps(rows))
        return
    table = whole_table("run", "due", "state", "took", "takes kept", "failed", "what was wrong")
    for row in rows:
        states = row["summary"].get("states", {})
        table.add_row(
            row["id"],
            row["due"] or "asked for",
            row["state"],
            "" if row["wall_s"] is None else f"{row['wall_s']:.1f} s",
            str(states.get("clip", {}).get("kept", "")),
            str(row["summary"].get("failed", "")),
            _text(row["error"] or "; ".join(row["drift"])),
        )
    Console().print(table if rows else f"{name} has not run yet.")


@schedule.command("run-now")
def run_now(name: Name, json_output: JsonOption = False) -> None:
    """Run one now, as if it were due. Refused while a run of it is under way."""
    from curate.schedule.runs import execute

    say = Console(stderr=True, soft_wrap=True, quiet=json_output)
    with _plain(), _stopping() as event:
        store = Store()
        run = execute(
            store,
            store.get(name),
            stop=event,
            heard=lambda line: say.print(legible(line), markup=False, highlight=False),
        )
    if json_output:
        typer.echo(json.dumps(vars(run)))
    else:
        why = f": {run.error or '; '.join(run.drift)}" if run.bad else ""
        typer.echo(legible(f"{run.state} in {run.wall_s:.1f} s{why}"))
    if run.state != "done":
        raise typer.Exit(FAILED)


@schedule.command()
def remove(name: Name) -> None:
    """Forget a schedule. Its dataset stays, and so do its history and logs."""
    with _plain():
        Store().remove(name)


@schedule.command()
def serve(
    parallel: Annotated[
        int, typer.Option(min=1, help="Runs of different schedules at once; one takes all cores by default.")
    ] = 1,
    metrics_port: Annotated[
        int | None, typer.Option("--metrics-port", min=1, max=65535, help="Offer Prometheus metrics at this port.")
    ] = None,
    metrics_host: Annotated[
        str, typer.Option("--metrics-host", help="Where; by default this machine only.")
    ] = "127.0.0.1",
    log_format: Annotated[
        Literal["text", "json"], typer.Option("--log-format", help="Of the lines on stderr.")
    ] = "text",
) -> None:
    """Start what is due, until stopped. Schedules added or removed meanwhile are heeded."""
    from prometheus_client import start_http_server

    from curate.schedule.metrics import Metrics
    from curate.schedule.serve import Server, json_log, text_log

    with _plain(), _stopping() as event:
        metrics = Metrics()
        server = Server(Store(), parallel, json_log if log_format == "json" else text_log, metrics)
        server.stop = event
        offered = start_http_server(metrics_port, metrics_host, metrics.registry) if metrics_port else None
        try:
            server.serve()
        finally:
            if offered:
                offered[0].shutdown()
                offered[0].server_close()
                offered[1].join()


@schedule.command()
def export(
    form: Annotated[Literal["systemd", "kubernetes"], typer.Option("--as", help="What to write.")],
    name: Annotated[str | None, typer.Argument(help="The schedule, for kubernetes.", metavar="[NAME]")] = None,
    image: Annotated[str | None, typer.Option(help="kubernetes: an image with longtake installed.")] = None,
    claim: Annotated[str | None, typer.Option(help="kubernetes: the volume claim that holds local paths.")] = None,
    tls_secret: Annotated[
        str | None,
        typer.Option("--tls-secret", help="kubernetes: the Secret with ca.crt, tls.crt and tls.key, for tls://."),
    ] = None,
) -> None:
    """Print a systemd unit that serves all schedules, or a Kubernetes CronJob of one."""
    from curate.schedule.units import kubernetes, systemd

    with _plain():
        if form == "systemd":
            typer.echo(systemd(Store()), nl=False)
            return
        if name is None or image is None:
            stop(
                "a CronJob is of one schedule: curate schedule export NAME --as kubernetes --image IMAGE",
                WRONG_USE,
            )
        typer.echo(kubernetes(Store().get(name), image, claim, tls_secret), nl=False)


def _listed(store: Store, name: str) -> dict[str, Any]:
    try:
        found = store.get(name)
    except ScheduleError as error:
        return {"name": name, "error": str(error)}
    past = store.history(name)
    due = found.due_after(datetime.now(UTC)).isoformat(timespec="minutes")
    return {**found.model_dump(mode="json"), "next": due, "latest": past[-1] if past else None}


def _text(text: str) -> Text:
    """A cell of text that others wrote: no markup, and nothing that steers the terminal."""
    return Text(legible(text))


def _absolute(given: str) -> str:
    """A local path that means the same from any folder; an address as it is, for it holds no credentials.

    Raises:
        UrlError: it does.
    """
    return checked(given) if "://" in given else str(Path(given).absolute())


def _lasting(recipe: str) -> str:
    return str(Path(recipe).absolute()) if Path(recipe).is_file() else recipe


@contextmanager
def _stopping() -> Iterator[Any]:
    """An event that SIGINT and SIGTERM set, so that a run is stopped in order."""
    import threading

    event = threading.Event()
    before = {number: signal.signal(number, lambda *_: event.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
