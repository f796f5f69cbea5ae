"""Writes PyTorch's scores of the published aesthetic heads, for `../../tests/fixtures/aesthetic_heads.json`.

Embeddings are the tensors `embedding/0`, `embedding/1`, ... of the generator of `../raft_graphs` (the rule
for one dimension), so no test needs a file of them. The heads are the published files, found in a folder;
one that is not there keeps the scores it has.

    python heads.py FOLDER [FOLDER ...] [--out ../../tests/fixtures/aesthetic_heads.json]
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

import vit  # makes ../raft_graphs importable
from weightless import FIXTURES

import generated  # of ../raft_graphs, which `export` has made importable

FIXTURE = FIXTURES / "aesthetic_heads.json"
COUNT = 5
# The layers of each file, in order: widths of linear layers, and what stands between them. Dropout is there
# for the numbers of the layers.
WIDTHS = (1024, 128, 64, 16, 1)
DROPOUT, RELU = nn.Dropout, nn.ReLU
HEADS = {
    "sac+logos+ava1-l14-linearMSE.pth": ("layers", 768, ([DROPOUT], [DROPOUT], [DROPOUT], [])),
    "ava+logos-l14-linearMSE.pth": ("layers", 768, ([DROPOUT], [DROPOUT], [DROPOUT], [])),
    "ava+logos-l14-reluMSE.pth": ("layers", 768, ([RELU, DROPOUT], [RELU, DROPOUT], [RELU, DROPOUT], [RELU])),
    "aesthetic_predictor_v2_5.pth": ("scoring_head", 1152, ([DROPOUT], [DROPOUT], [DROPOUT], [DROPOUT])),
    "sa_0_4_vit_l_14_linear.pth": (None, 768, None),
}


def network(width: int, between) -> nn.Module:
    if between is None:
        return nn.Linear(width, 1)
    layers, before = [], width
    for i, after in enumerate(WIDTHS):
        layers.append(nn.Linear(before, after))
        layers.extend(kind() for kind in (between[i] if i < len(between) else []))
        before = after
    return nn.Sequential(*layers)


@torch.inference_mode()
def scores(path: Path, prefix: str | None, width: int, between) -> list[float]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    if prefix:
        state = {name.removeprefix(f"{prefix}."): tensor for name, tensor in state.items()}
    head = network(width, between)
    head.load_state_dict(state)
    head.float().eval()
    embeddings = np.stack([generated.weight(f"embedding/{i}", (width,)) for i in range(COUNT)])
    embeddings = torch.from_numpy(embeddings)
    return head(embeddings / embeddings.norm(dim=-1, keepdim=True))[:, 0].tolist()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=FIXTURE)
    args = parser.parse_args()
    torch.set_num_threads(1)
    made = json.loads(args.out.read_text())["heads"] if args.out.exists() else []
    known = {row["file"]: row["scores"] for row in made}
    for file, rule in HEADS.items():
        path = next((folder / file for folder in args.folders if (folder / file).exists()), None)
        if path:
            known[file] = scores(path, *rule)
    rows = [json.dumps({"file": file, "scores": known[file]}) for file in HEADS if file in known]
    made_by = json.dumps(f"torch {torch.__version__}, one CPU thread, float32")
    text = ",\n    ".join(rows)
    args.out.write_text(f'{{\n  "made_by": {made_by},\n  "heads": [\n    {text}\n  ]\n}}\n')
    print(args.out.read_text())


if __name__ == "__main__":
    main()
