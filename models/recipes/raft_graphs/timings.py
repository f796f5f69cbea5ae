"""Times: the graphs against torchvision, a loop against updates written out, and forms of the lookup.

Wall time is what a user waits for, but on a machine that is shared it says little; CPU time with one
thread is what the work costs and hardly depends on the neighbours. Both are the least of several rounds,
taken in turn.

    python timings.py [--threads 1] [--rounds 3] [--lookups] [--unrolled]
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import lookups
import raft
from weightless import GRAPHS
from reference import Reference, Session, pairs, weights_of

HEIGHT, WIDTH, UPDATES = 256, 448, 12
BATCHES = (1, 2, 4, 8)


def measure(work) -> tuple[float, float]:
    """Wall and CPU seconds of one call, CPU over all threads."""

    def cpu():
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    wall, used = time.perf_counter(), cpu()
    work()
    return time.perf_counter() - wall, cpu() - used


def least(works: dict, rounds: int) -> dict[str, tuple[float, float]]:
    """The least wall and CPU seconds of each work; the first round only warms up."""
    seen = {key: [] for key in works}
    for turn in range(rounds + 1):
        for key, work in works.items():
            seconds = measure(work)
            if turn:
                seen[key].append(seconds)
    return {key: tuple(min(x) for x in zip(*s)) for key, s in seen.items()}


def table(name: str, path: Path, threads: int, rounds: int = 3):
    """torchvision one pair after the other, then the graph at several batch sizes; seconds per pair."""
    weights = weights_of(name)
    session, reference = Session(path, weights, threads), Reference(name, weights)
    one = pairs(1, HEIGHT, WIDTH)
    works = {"torchvision, pair by pair": (1, lambda: reference(*one, UPDATES))}
    for batch in BATCHES:
        images = pairs(batch, HEIGHT, WIDTH)
        works[f"graph, batch {batch}"] = (batch, lambda images=images: session(*images, UPDATES))
    seconds = least({key: work for key, (_, work) in works.items()}, rounds)
    what = f"{name}, {HEIGHT}x{WIDTH}, {UPDATES} updates, {threads} threads"
    print(f"\n| {what} | wall s per pair | CPU s per pair | ratio, wall | CPU |\n|---|---|---|---|---|")
    first = seconds["torchvision, pair by pair"]
    for key, (batch, _) in works.items():
        wall, cpu = (s / batch for s in seconds[key])
        print(f"| {key} | {wall:.3f} | {cpu:.3f} | {first[0] / wall:.2f} | {first[1] / cpu:.2f} |", flush=True)


def unrolled(name: str, threads: int, rounds: int):
    """The loop against the same updates written out."""
    weights, images, works = weights_of(name), pairs(1, HEIGHT, WIDTH), {}
    with tempfile.TemporaryDirectory() as folder:
        for key, count in (("loop", None), ("written out", UPDATES)):
            path = Path(folder) / f"{key}.onnx"
            path.write_bytes(raft.build(raft.PRESETS[name], unroll=count).SerializeToString())
            session = Session(path, weights, threads)
            works[key] = lambda session=session: session(*images, UPDATES)
        seconds = least(works, rounds)
    for key, (wall, cpu) in seconds.items():
        print(f"{name}, updates as {key}: {wall:.3f} s wall, {cpu:.3f} s CPU ({threads} threads)", flush=True)


def lookup_forms(config: raft.Config, threads: int, rounds: int):
    """What building the volume and one lookup cost in each form."""
    expected = None
    for form in lookups.FORMS:
        run = lookups.session(form, config, threads)
        got = run(HEIGHT // 8, WIDTH // 8, UPDATES)
        expected = got if expected is None else expected
        assert np.abs(got - expected).max() < 1e-3, (form, np.abs(got - expected).max())
        few, many = 1, 1 + UPDATES
        works = {n: (lambda n=n: run(HEIGHT // 8, WIDTH // 8, n)) for n in (few, many)}
        seconds = least(works, rounds)
        each = [1e3 * (b - a) / UPDATES for a, b in zip(seconds[few], seconds[many])]
        once = [1e3 * a - e for a, e in zip(seconds[few], each)]
        print(
            f"| {config.name} | {form} | {each[0]:.1f} | {each[1]:.1f} | {once[0]:.0f} | {once[1]:.0f} |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lookups", action="store_true", help="only the forms of the lookup")
    parser.add_argument("--unrolled", action="store_true", help="only the loop against updates written out")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.lookups:
        print(f"| {HEIGHT}x{WIDTH}, {args.threads} threads | lookup by | ms wall each | CPU | volume, ms wall | CPU |")
        print("|---|---|---|---|---|---|")
    for name, config in raft.PRESETS.items():
        if args.lookups:
            lookup_forms(config, args.threads, args.rounds)
        elif args.unrolled:
            unrolled(name, args.threads, args.rounds)
        else:
            table(name, GRAPHS / f"{name}.onnx", args.threads, args.rounds)


if __name__ == "__main__":
    main()
