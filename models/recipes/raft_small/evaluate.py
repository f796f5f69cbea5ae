"""Compares flow methods on pairs with known flow: evaluate.py PAIRS [--weights FILE ...] [--each]

PAIRS holds NAME_1.png, NAME_2.png and NAME.flo (Middlebury format, flow from image 1 to image 2, pixels).
Each method runs at full size and with the short side at 256 px, the analysis size of the motion filter; flow
found at another size is scaled back and compared at full size. Reported per method:
* end-point error (EPE): mean over pixels of the length of the difference, then mean over pairs, in px;
* 1px: share of pixels whose end-point error is above 1 px, mean over pairs;
* mean-flow error: |mean length found - mean length true|, in px (mean over pairs) and relative to the truth
  (median over pairs that move by 0.1 px or more); this is what a motion score is wrong by;
* rank correlation (Spearman) of mean flow over pairs: whether clips are put in the right order.

Weights files have torchvision's raft_small names; inference is f32 with 12 updates. Farneback has the settings
of EasyAnimate's motion score, DIS is OpenCV's medium preset.
"""

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file
from torchvision.models.optical_flow import raft_small

UPDATES = 12
SMALLEST_SIDE = 128  # below it torchvision's correlation pyramid has empty levels


def read_flow(path):
    """(flow f32 [H, W, 2], bool [H, W] where it is known)."""
    data = path.read_bytes()
    if np.frombuffer(data, "<f4", 1)[0] != np.float32(202021.25):
        sys.exit(f"evaluate: {path} is no .flo file")
    width, height = np.frombuffer(data, "<i4", 2, 4)
    flow = np.frombuffer(data, "<f4", width * height * 2, 12).reshape(height, width, 2)
    known = np.isfinite(flow).all(-1) & (np.abs(flow).max(-1) < 1e9)
    return np.where(known[..., None], flow, 0), known


def read_pairs(folder):
    pairs = []
    for path in sorted(folder.glob("*.flo")):
        images = [cv2.imread(str(path.with_name(f"{path.stem}_{k}.png")), cv2.IMREAD_COLOR) for k in (1, 2)]
        if any(image is None for image in images):
            sys.exit(f"evaluate: {path.stem}_1.png or {path.stem}_2.png is missing in {folder}")
        pairs.append((path.stem, *images, *read_flow(path)))
    if not pairs:
        sys.exit(f"evaluate: no .flo files in {folder}")
    return pairs


def load_raft(path):
    model = raft_small(weights=None)
    missing, unexpected = model.load_state_dict(load_file(str(path)), strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        sys.exit(f"evaluate: {path} is not raft_small: missing {missing[:3]}, unexpected {unexpected[:3]}")
    model.eval()

    def run(first, second):
        def tensor(image):
            rgb = np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))
            return torch.from_numpy(rgb)[None].float() / 127.5 - 1

        with torch.no_grad():
            return model(tensor(first), tensor(second), num_flow_updates=UPDATES)[-1][0].permute(1, 2, 0).numpy()

    return run


def dis(first, second):
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return method.calc(cv2.cvtColor(first, cv2.COLOR_BGR2GRAY), cv2.cvtColor(second, cv2.COLOR_BGR2GRAY), None)


def farneback(first, second):
    return cv2.calcOpticalFlowFarneback(cv2.cvtColor(first, cv2.COLOR_BGR2GRAY),
                                        cv2.cvtColor(second, cv2.COLOR_BGR2GRAY), None, 0.5, 3, 15, 3, 5, 1.2, 0)


def at_size(method, first, second, short_side):
    """Flow at full size from images resized to `short_side` (None: full size), sides rounded to multiples of 8."""
    height, width = first.shape[:2]
    short = max(short_side or min(height, width), SMALLEST_SIDE)
    scale = short / min(height, width)
    h, w = (max(SMALLEST_SIDE, round(side * scale / 8) * 8) for side in (height, width))
    if (h, w) != (height, width):
        kind = cv2.INTER_AREA if h < height else cv2.INTER_LINEAR
        first, second = (cv2.resize(image, (w, h), interpolation=kind) for image in (first, second))
    flow = method(first, second)
    if (h, w) != (height, width):
        flow = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR)
        flow = flow * np.float32([width / w, height / h])
    return flow


def ranks(values):
    """Ranks with ties shared, as Spearman's correlation needs them."""
    values = np.asarray(values)
    return np.array([(values < v).sum() + ((values == v).sum() - 1) / 2 for v in values])


def measure(method, pairs, short_side):
    errors, outliers, found, true, seconds = [], [], [], [], 0.0
    for _, first, second, flow, known in pairs:
        start = time.perf_counter()
        guess = at_size(method, first, second, short_side)
        seconds += time.perf_counter() - start
        error = np.linalg.norm(guess - flow, axis=-1)[known]
        errors.append(error.mean())
        outliers.append((error > 1).mean())
        found.append(np.linalg.norm(guess, axis=-1)[known].mean())
        true.append(np.linalg.norm(flow, axis=-1)[known].mean())
    found, true = np.array(found), np.array(true)
    moving = true >= 0.1
    return {
        "EPE px": np.mean(errors),
        "1px %": 100 * np.mean(outliers),
        "mean-flow error px": np.abs(found - true).mean(),
        "mean-flow error %": 100 * np.median(np.abs(found - true)[moving] / true[moving]),
        "rank corr.": np.corrcoef(ranks(found), ranks(true))[0, 1],
        "s/pair": seconds / len(pairs),
    }, errors


def main():
    parser = argparse.ArgumentParser(description="Compare optical-flow methods on pairs with known flow.")
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--weights", nargs="*", default=[], help="raft_small safetensors: FILE or NAME=FILE")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--each", action="store_true", help="also print the end-point error of every pair at full size")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    pairs = read_pairs(args.pairs)
    methods = {}
    for item in args.weights:
        name, _, file = item.rpartition("=")
        methods[name or Path(file).stem] = load_raft(file)
    methods["DIS medium"], methods["Farneback"] = dis, farneback
    header, each = None, {}
    for size_name, short_side in (("full", None), ("short side 256", 256)):
        for name, method in methods.items():
            row, errors = measure(method, pairs, short_side)
            each.setdefault(name, errors)
            if header is None:
                header = list(row)
                print(f"| method | size | {' | '.join(header)} |\n|{'---|' * (len(header) + 2)}")
            cells = [f"{row[key]:.1f}" if "%" in key else f"{row[key]:.3f}" for key in header]
            print(f"| {name} | {size_name} | {' | '.join(cells)} |", flush=True)
    if args.each:
        print(f"\n| pair | mean flow px | {' | '.join(each)} |\n|{'---|' * (len(each) + 2)}")
        for k, (pair, _, _, flow, known) in enumerate(pairs):
            print(f"| {pair} | {np.linalg.norm(flow, axis=-1)[known].mean():.2f} | "
                  f"{' | '.join(f'{errors[k]:.3f}' for errors in each.values())} |")


if __name__ == "__main__":
    main()
