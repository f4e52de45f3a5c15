"""Damaged media through the prober, the decoder, the probes and the cutter: nothing may crash but the child, or hang.

    [unshare -n] nice python tests/benchmarks/fuzz_media.py [--cases 20000] [--seed 1] [--work DIR] [--at-once N]
    python tests/benchmarks/fuzz_media.py --trace 300

Tiny films in some 75 kinds of container and codec, and the heads of the broken footage, are damaged (`mutants.py`) and
go through the product's own child with its limits (`gauntlet.py`): most through what reads their bytes, one in fifty
through all of a run. A case is a function of the seed and its number. What is done stands in `cases.jsonl`, so a run
goes on where it was killed; files of which more came than a result or a refusal that is meant are kept in `found/`.

Prints the counts as it goes: `result` (rows that do not contradict themselves), `refused` (with a message that is
meant), `unclear` (an exception that nobody meant), `crash`, `memory`, `hang` (of the child, contained), `parent`
(raised in the engine's own process), `wrong` (rows or a clip that contradict themselves). After each case no file may
be there that was not before, nor the input be another; `--trace` has strace look for writes and sockets elsewhere.
In an empty network namespace (`unshare -n`) whatever would connect fails, too, and would show as an error.
"""

from __future__ import annotations

import collections
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from films import footage_root

sys.path.insert(0, str(Path(__file__).parents[1] / "curate"))
import gauntlet
import mutants
import specimens

FINE = ("result", "refused")
HEAD = 60_000
"""Bytes taken of a piece of broken footage: its headers and first pictures."""
STALL_S = 120.0
"""Silence after which a child is taken for hung: twice the product's own, for a machine so busy that a start takes a
minute."""
WHOLE, CUT = 0.02, 0.3
"""Shares of the cases that go through all of a run, and of the others that are cut: these cost ten and three times as
much as those of which the pictures are looked at alone."""


def corpus(folder: Path, footage: Path) -> list[tuple[str, bytes]]:
    """Names and bytes of what is damaged."""
    films = [(path.name, path.read_bytes()) for path in specimens.write(folder)]
    broken = sorted((footage / "broken").iterdir())
    return films + [(f"head of {path.name}", path.read_bytes()[:HEAD]) for path in broken if path.is_file()]


def isolated() -> bool:
    """Whether this process has no network but its own loop."""
    return {line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]} <= {"lo"}


def tell(done: list[dict], began: float, count: int) -> None:
    kinds = collections.Counter(case["kind"] for case in done)
    whole = sum(case["whole"] for case in done)
    rate = count / max(1e-9, time.monotonic() - began)
    text = ", ".join(f"{kind} {number}" for kind, number in kinds.most_common())
    cut = sum(case["written"] for case in done)
    print(
        f"{len(done)} cases, {len({case['sha'] for case in done})} distinct, {whole} through all of a run: {text}; "
        f"{sum(case['frames'] for case in done)} frames, {cut} clips, {sum(case['copied'] for case in done)} of them "
        f"copied; {rate:.1f} a second",
        flush=True,
    )


def summary(done: list[dict]) -> None:
    """Every kind of trouble, with how often it came and a case to look at."""
    seen: dict[str, list[dict]] = collections.defaultdict(list)
    for case in done:
        for event in case["events"]:
            if event["kind"] not in FINE:
                message = re.sub(r"-?\d+(\.\d+)?(e[+-]?\d+)?", "N", event["message"])[:120]
                seen[f"{event['kind']:8} {event['stage']}: {event['error']}: {message}"].append(case)
    for text, cases in sorted(seen.items(), key=lambda item: -len(item[1])):
        examples = " ".join(f"{case['n']}({case['film']})" for case in cases[:3])
        print(f"{len(cases):6} {text}   {examples}")
    slow = sorted(done, key=lambda case: -case["seconds"])[:5]
    print("slowest:", ", ".join(f"{case['n']} {case['film']} {case['seconds']:.1f} s {case['kind']}" for case in slow))


def trace(cases: int, seed: int, work: Path) -> None:
    """Run some cases under strace: what is written where, and which sockets are asked for."""
    log, box = work / "strace.log", work / "traced"
    shutil.rmtree(box, ignore_errors=True)
    calls = (
        "openat,open,creat,rename,renameat,renameat2,link,linkat,symlink,mkdir,mkdirat,unlink,unlinkat,socket,connect"
    )
    command = ["strace", "-f", "--seccomp-bpf", "-qq", "-e", f"trace={calls}", "-o", str(log), sys.executable, __file__]
    subprocess.run([*command, "--cases", str(cases), "--seed", str(seed), "--work", str(box)], check=True)
    allowed = (str(box), "/dev/null", "/dev/shm/", "pipe:")
    odd: collections.Counter[str] = collections.Counter()
    looked = 0
    for line in log.read_text(errors="replace").splitlines():
        call = line.split(" ", 1)[-1].strip()
        if call.startswith(("socket(", "connect(")):
            if "AF_UNIX" not in call and "AF_NETLINK" not in call:
                odd[call.split(")")[0]] += 1
        elif call.startswith("open") and not re.search("O_WRONLY|O_RDWR|O_CREAT", call):
            continue
        else:
            looked += 1
            for name in re.findall(r'"([^"]*)"', call):
                if name.startswith("/") and not name.startswith(allowed) and "__pycache__" not in name:
                    odd[f"{call.split('(')[0]} {name}"] += 1
    print(f"{looked} calls that write or move, outside of {box}: {dict(odd.most_common(20)) or 'none'}")


def one(
    run: gauntlet.Gauntlet, films: list[tuple[str, bytes]], seed: tuple[int, int], box: Path, found: Path
) -> tuple[dict, gauntlet.Outcome]:
    """A case: what stands in the log of it, and what came of it."""
    number = seed[1]
    random = np.random.default_rng(seed)
    data, how = mutants.mutant([film for _, film in films], random)
    film = films[int(how.split()[0][1:])][0]
    path = box / "in" / f"{number}{Path(film).suffix}"
    path.write_bytes(data)
    whole = bool(random.random() < WHOLE)
    outcome = run.whole(path, str(number)) if whole else run.quick(path, str(number), bool(random.random() < CUT))
    if path.read_bytes() != data:
        outcome.events.append(gauntlet.Event("wrong", "files", "", "the input was changed"))
    shutil.rmtree(box / "out" / str(number), ignore_errors=True)
    if outcome.kind not in FINE:
        found.mkdir(exist_ok=True)
        shutil.copy(path, found / path.name)
    path.unlink()
    # What a killed child leaves in its scratch folder is swept by the next process that makes one.
    left = {name for name in gauntlet.files(box) if not name.startswith(("in/", "out/", "tmp/longtake-"))}
    if left:
        outcome.events.append(gauntlet.Event("wrong", "files", "", f"left behind: {sorted(left)[:5]}"))
    case = {"n": number, "film": film, "how": how, "whole": whole, "kind": outcome.kind}
    case |= {"sha": hashlib.sha256(data).hexdigest()[:16], "seconds": round(outcome.seconds, 3)}
    case |= {"frames": outcome.frames, "written": outcome.written, "copied": outcome.copied}
    return case | {"events": [vars(event) for event in outcome.events]}, outcome


def main(
    cases: Annotated[int, typer.Option(help="How many, counted from the first.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Of the damage.")] = 1,
    work: Annotated[Path, typer.Option(help="Folder for films, findings and the log.")] = Path("out/fuzz_media"),
    footage: Annotated[Path | None, typer.Option(help="Folder of real footage.")] = None,
    minutes: Annotated[float, typer.Option(help="Stop after this long; a later run goes on.")] = float("inf"),
    trace_cases: Annotated[int, typer.Option("--trace", help="Only this many, under strace.")] = 0,
    at_once: Annotated[int, typer.Option(help="Files under way at a time, each with a child of its own.")] = 1,
    only: Annotated[int | None, typer.Option(help="One case alone, told in full.")] = None,
) -> None:
    """Damage, run, count."""
    work = work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    if trace_cases:
        trace(trace_cases, seed, work)
        return
    films = corpus(work / "films", footage_root(footage))
    box, log = work / "box", work / f"cases.{seed}.jsonl"
    shutil.rmtree(box, ignore_errors=True)
    for name in ("in", "out", "tmp", "home", "here"):
        (box / name).mkdir(parents=True)
    os.environ.update(TMPDIR=str(box / "tmp"), HOME=str(box / "home"))
    os.chdir(box / "here")
    done = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    known = {case["n"] for case in done}
    run = gauntlet.Gauntlet(box / "out", stall_s=STALL_S)
    began, count = time.monotonic(), 0
    print(f"{len(films)} films; {'no network' if isolated() else 'a network is there'}; {len(known)} done", flush=True)
    todo = iter([only] if only is not None else [number for number in range(cases) if number not in known])
    turn = threading.Lock()

    def work_off() -> None:
        nonlocal count
        while True:
            with turn:
                number = next(todo, None)
            if number is None or time.monotonic() - began > 60 * minutes:
                break
            case, outcome = one(run, films, (seed, number), box, work / "found")
            if only is not None:
                print(*(f"{event.kind}: {event}\n{event.trace}" for event in outcome.events), case, sep="\n")
                break
            with turn:
                done.append(case)
                with log.open("a") as file:
                    file.write(json.dumps(case) + "\n")
                count += 1
                if count % 200 == 0:
                    tell(done, began, count)
        run.close()

    threads = [threading.Thread(target=work_off) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tell(done, began, count)
    summary(done)


if __name__ == "__main__":
    typer.run(main)
