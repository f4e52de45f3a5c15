"""The command line. Verbs are found through entry points; this file only gathers them."""

from __future__ import annotations

import sys

import typer

from curate import __version__, plugins

app = typer.Typer(
    name="curate",
    help="Turn raw video into training sets of long takes, and train long-video generators on them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"longtake {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Say the version."),
) -> None:
    """Turn raw video into training sets of long takes, and train long-video generators on them."""


def main() -> None:
    """The console command `curate`."""
    verbs = plugins.entries("commands")
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    # Only the verb that was asked for is imported: some pull in heavy packages. Help needs them all.
    for name, entry in {asked: verbs[asked]}.items() if asked in verbs else verbs.items():
        try:
            verb = entry.load()
        except ImportError as error:
            print(f"curate: the verb {name!r} cannot be loaded: {error}", file=sys.stderr)
            continue
        if isinstance(verb, typer.Typer):
            app.add_typer(verb, name=name)
        else:
            app.command(name)(verb)
    app()


if __name__ == "__main__":
    main()
