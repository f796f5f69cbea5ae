#!/usr/bin/env python3
"""RAFT-small here against torchvision's, pair by pair, on the same threads, size and updates.

    make bench-raft            (prints curate's figures; torchvision's too where torch is installed)
    benches/raft_speed.py BENCH [--width 448] [--height 256] [--updates 12] [--threads 1]

BENCH is the compiled benches/raft.rs. torch and torchvision (several GB) are for comparisons only
and not installed by any make target: `pip install torch torchvision` into an environment whose
python runs this script.
"""

import argparse
import subprocess
import time


def curate(args):
    words = [args.bench, str(args.width), str(args.height), str(args.updates), str(args.threads)]
    text = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return {int(b): float(rate) for b, rate in (line.split() for line in text.splitlines())}


def torchvision(args):
    """Pairs per second, one pair at a time; None without torch."""
    try:
        import torch
        from torchvision.models.optical_flow import raft_small
    except ImportError:
        return None
    torch.set_num_threads(args.threads)
    model = raft_small(weights=None).eval()
    pair = [torch.rand(1, 3, args.height, args.width) * 2 - 1 for _ in range(2)]
    with torch.inference_mode():
        model(*pair, num_flow_updates=args.updates)
        start, calls = time.monotonic(), 0
        while time.monotonic() - start < 10:
            model(*pair, num_flow_updates=args.updates)
            calls += 1
        return calls / (time.monotonic() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench")
    parser.add_argument("--width", type=int, default=448)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--updates", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    base = torchvision(args)
    ours = curate(args)
    print(f"RAFT-small, {args.width}x{args.height}, {args.updates} updates, {args.threads} threads")
    if base is None:
        print("torchvision: not installed, nothing to compare with")
    else:
        print(f"torchvision, pair by pair   {base:7.3f} pairs/s   1.00")
    for batch, rate in ours.items():
        ratio = f"{rate / base:6.2f}" if base else "     -"
        print(f"curate, batches of {batch:<2}       {rate:7.3f} pairs/s {ratio}")


if __name__ == "__main__":
    main()
