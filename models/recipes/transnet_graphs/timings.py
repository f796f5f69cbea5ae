"""Times the graph against the package: milliseconds for a window of 100 frames.

Wall time is what a user waits for, CPU time over all threads is what the work costs and hardly depends
on neighbours. Both are the least of several rounds, taken in turn.

    python timings.py [--threads 1] [--rounds 5]
"""

import argparse
import resource
import time
from pathlib import Path

import torch

import transnet
from weightless import GRAPHS
from reference import Reference, Session, generated_frames


def measure(work) -> tuple[float, float]:
    def cpu():
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    wall, used = time.perf_counter(), cpu()
    work()
    return 1e3 * (time.perf_counter() - wall), 1e3 * (cpu() - used)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graphs", type=Path, default=GRAPHS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    reference = Reference()
    session = Session(args.graphs / f"{transnet.NAME}.onnx", reference.weights(), args.threads)
    frames = generated_frames(200)
    one, two = frames[:, :100], frames.reshape(2, 100, 27, 48, 3)
    works = {
        "package": (1, lambda: reference(one)),
        "graph, batch 1": (1, lambda: session(one)),
        "graph, batch 2": (2, lambda: session(two)),
    }
    seen = {key: [] for key in works}
    for turn in range(args.rounds + 1):
        for key, (batch, work) in works.items():
            ms = measure(work)
            if turn:
                seen[key].append([x / batch for x in ms])
    print(f"| {args.threads} threads | wall ms per window | CPU ms |\n|---|---|---|")
    for key, rounds in seen.items():
        wall, cpu = (min(x) for x in zip(*rounds))
        print(f"| {key} | {wall:.0f} | {cpu:.0f} |", flush=True)


if __name__ == "__main__":
    main()
