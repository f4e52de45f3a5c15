"""The readers of strangers' text and bytes, fuzzed by what their code covers, for as long as is wanted.

    pip install atheris
    python tests/benchmarks/fuzz_parsers.py [--seconds 60] [--target NAME]... [--work DIR]

Each target of `tests/curate/parsers.py` runs in a process of its own under libFuzzer, which keeps every input that
reaches new branches of this project's Python (and PyYAML's, pysubs2's and webdataset's) and damages those further. It
starts from the seeds of `tests/curate/test_fuzz_parsers.py`, and from what an earlier run in the same folder kept.
Prints per target how many inputs were tried, how many branches they reached, and what was raised that is not meant;
such an input stands in the folder. An input may take 20 s and 2 GiB.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

CURATE = Path(__file__).parents[1] / "curate"
INSTRUMENTED = ["curate", "stages", "pipelines", "parsers", "yaml", "pysubs2", "tarfile", "json"]
LIMITS = ["-timeout=20", "-rss_limit_mb=2048", "-max_len=4096", "-print_final_stats=1"]


def fuzz(name: str, corpus: Path, seconds: int) -> None:
    """Run one target in this process, which ends with it."""
    import atheris

    sys.path.insert(0, str(CURATE))
    with atheris.instrument_imports(include=INSTRUMENTED):
        import parsers
    folder = Path(tempfile.mkdtemp())
    run = parsers.TARGETS[name]
    arguments = [sys.argv[0], str(corpus), f"-artifact_prefix={corpus.parent}/{name}-", f"-max_total_time={seconds}"]
    atheris.Setup([*arguments, *LIMITS], lambda data: run(data, folder))
    atheris.Fuzz()


def main(
    seconds: Annotated[int, typer.Option(help="For each target.")] = 60,
    target: Annotated[list[str] | None, typer.Option(help="Which; by default all.")] = None,
    work: Annotated[Path, typer.Option(help="Folder for inputs kept and findings.")] = Path("out/fuzz_parsers"),
    inside: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Fuzz each target in turn."""
    work = work.resolve()
    if inside:
        fuzz(inside, work / inside, seconds)
        return
    sys.path.insert(0, str(CURATE))
    import parsers
    import test_fuzz_parsers

    found = 0
    for name in target or parsers.TARGETS:
        corpus = work / name
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(test_fuzz_parsers.SEEDS.get(name, [])):
            (corpus / f"seed{number}").write_bytes(seed)
        command = [sys.executable, __file__, "--inside", name, "--work", str(work), "--seconds", str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        tried = re.findall(r"stat::number_of_executed_units: (\d+)", done.stderr)
        covered = re.findall(r"cov: (\d+)", done.stderr)
        raised = re.findall(r"=== Uncaught Python exception: ===\n(.*)", done.stderr) or re.findall(
            r"ERROR: libFuzzer: (.*)", done.stderr
        )
        wrong = raised or ([f"ended with status {done.returncode}: {done.stderr[-300:]}"] if done.returncode else [])
        found += bool(wrong)
        print(
            f"{name:18} {(tried or ['?'])[-1]:>8} inputs, {(covered or ['?'])[-1]:>5} branches: "
            f"{wrong[0][:200] if wrong else 'nothing that is not meant'}",
            flush=True,
        )
    raise typer.Exit(1 if found else 0)


if __name__ == "__main__":
    typer.run(main)
