"""What the towers cost: time, memory, and the forms of a linear layer that were weighed.

Each form runs in a process of its own, for its peak of memory. CPU time with one thread is what the work
costs and hardly depends on what else the machine does; it is the least of several runs.

    python timings.py [--layers N] [--rounds 3] [--torch]
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from dataclasses import replace

import numpy as np

import vit

NO_PREPACKING = {"session.disable_prepacking": "1"}


class MatMul(vit.Tower):
    """Linear layers as exporters write them: a product with the transposed matrix, then the bias."""

    def linear(self, x, name, c_in, c_out, bias=True, result=None):
        g = self.g
        weight = g.op("Transpose", g.weight(f"{name}.weight", c_out, c_in), perm=[1, 0])
        if not bias:
            return g.op("MatMul", x, weight, name=result)
        return g.op("Add", g.op("MatMul", x, weight), g.weight(f"{name}.bias", c_out), name=result)


# Form to kind of tower, and settings of the session.
FORMS = {
    "Gemm": (vit.Tower, {}),
    "Gemm, no prepacking": (vit.Tower, NO_PREPACKING),
    "MatMul": (MatMul, {}),
    "MatMul, no prepacking": (MatMul, NO_PREPACKING),
}


def memory_mib() -> tuple[int, int]:
    """Resident now, and at most so far."""
    with open("/proc/self/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    return tuple(int(fields[key].split()[0]) >> 10 for key in ("VmRSS", "VmHWM"))


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def least_cpu_s(work, rounds: int) -> float:
    seen = []
    for _ in range(rounds + 1):
        before = cpu_s()
        work()
        seen.append(cpu_s() - before)
    # The first only warms up.
    return min(seen[1:])


def measure(config: vit.Config, form: str, batches: tuple[int, ...], rounds: int, answer):
    from weightless import external_shapes
    from reference import Session, pixels, random_weights

    kind, entries = FORMS[form]
    vit.Tower = kind
    model = vit.build(config)
    weights = random_weights(external_shapes(model), seed=1)
    session_before, started, wall = memory_mib()[0], cpu_s(), time.perf_counter()
    session = Session(model, weights, 1, entries)
    opened = (cpu_s() - started, time.perf_counter() - wall)
    after, peak = memory_mib()
    seconds = []
    for batch in batches:
        images = pixels(config, batch)
        seconds.append(least_cpu_s(lambda: session(images), rounds) / batch)
    values = sum(int(np.prod(s)) for s in external_shapes(model).values()) * 4 >> 20
    answer.put((values, after - session_before, peak - session_before, memory_mib()[1] - session_before, opened, seconds))


def measure_torch(config: vit.Config, batches: tuple[int, ...], rounds: int, answer):
    import torch
    from reference import Reference, pixels, random_weights

    torch.set_num_threads(1)
    reference = Reference(config)
    reference.model.set_attn_implementation("sdpa")
    reference.fill(random_weights(reference.shapes(), seed=1))
    seconds = []
    for batch in batches:
        images = pixels(config, batch)
        seconds.append(least_cpu_s(lambda: reference(images), rounds) / batch)
    answer.put(seconds)


def apart(work, *arguments):
    """Runs in a fresh process and gives what it answers."""
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    process = context.Process(target=work, args=(*arguments, answer))
    process.start()
    try:
        return answer.get(timeout=600)
    finally:
        process.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, help="instead of all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=vit.PRESETS)
    parser.add_argument("--torch", action="store_true", help="also time transformers")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    args = parser.parse_args()
    batches = tuple(args.batches)
    for config in vit.PRESETS.values():
        if args.only and config.name != args.only:
            continue
        config = replace(config, layers=args.layers or config.layers)
        columns = " | ".join(f"CPU s per picture, batch {batch}" for batch in batches)
        print(f"\n| {config.name}, {config.layers} layers, 1 thread | weights MiB | + session | + at most while made |"
              f" + at most | made in CPU s (wall) | {columns} |")
        for form in FORMS:
            values, kept, peak, total, opened, seconds = apart(measure, config, form, batches, args.rounds)
            times = " | ".join(f"{s:.2f}" for s in seconds)
            print(f"| {form} | {values} | {kept} | {peak} | {total} | {opened[0]:.1f} ({opened[1]:.1f}) | {times} |", flush=True)
        if args.torch:
            times = " | ".join(f"{s:.2f}" for s in apart(measure_torch, config, batches, args.rounds))
            print(f"| transformers, sdpa | | | | | | {times} |", flush=True)


if __name__ == "__main__":
    main()
