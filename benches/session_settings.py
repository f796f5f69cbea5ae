#!/usr/bin/env python3
"""What ONNX Runtime's memory settings cost: session_settings.py [THREADS]

Runs RAFT-small (models/graphs, random weights) over batches of changing size with the memory arena and
the plans of memory by shape on and off, each pair of settings in a process of its own, and prints CPU
seconds per pair and the peak of resident memory. models/src/runtime.rs rests on it. Needs numpy and
onnxruntime.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

GRAPHS = Path(__file__).parent.parent / "models/graphs"
BATCHES = [(1, 256, 448), (4, 256, 448), (1, 256, 456), (4, 256, 344), (2, 448, 256), (4, 256, 448)]


def session(arena, plans, threads):
    random = np.random.default_rng(0)
    shapes = json.loads((GRAPHS / "raft_small.weights.json").read_text())
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = arena
    options.enable_mem_pattern = plans
    values = []
    for shape in shapes.values():
        reach = (3 / max(1, np.prod(shape[1:]))) ** 0.5
        weights = random.uniform(-reach, reach, shape).astype(np.float32)
        values.append(ort.OrtValue.ortvalue_from_numpy(weights))
    options.add_external_initializers(list(shapes), values)
    graph = (GRAPHS / "raft_small.onnx").read_bytes()
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"]), values


def measure(arena, plans, threads):
    raft, _alive = session(arena, plans, threads)
    random = np.random.default_rng(1)
    pairs, started = 0, time.process_time()
    for batch, height, width in BATCHES * 2:
        image = random.uniform(-1, 1, (batch, 3, height, width)).astype(np.float32)
        raft.run(["flow"], {"image1": image, "image2": np.roll(image, 3, 3), "updates": np.array(12)})
        pairs += batch
    seconds = (time.process_time() - started) / pairs
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{arena!s:6} {plans!s:6} {seconds:13.3f} {peak:10.0f}")


if len(sys.argv) == 4:
    measure(sys.argv[1] == "1", sys.argv[2] == "1", int(sys.argv[3]))
else:
    threads = sys.argv[1] if len(sys.argv) == 2 else "1"
    print("arena  plans  CPU s per pair  peak MiB", flush=True)
    for arena in "10":
        for plans in "10":
            subprocess.run([sys.executable, __file__, arena, plans, threads], check=True)
