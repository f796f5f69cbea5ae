#!/usr/bin/env python3
"""Whether `curate train losses` finds captions that are on the wrong clip.

    make bench-wrong-captions    (after `make story`; calls this)
    benches/wrong_captions.py CURATE STORY [--clips 500] [--seed N]

Clips that the story's model has never seen; a tenth of them get the caption of another one. Every clip is measured, and those
with the lowest `caption_gain` are compared with those whose caption is wrong.
"""

import argparse
import csv
import io
import json
import os
import random
import re
import subprocess
import sys
import tempfile


def curate(binary, folder, *arguments):
    done = subprocess.run([binary, *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"curate {' '.join(arguments)}\n{done.stderr}")
    return done.stdout


def swap(path, rng):
    """Gives a tenth of the clips the captions of others among them; names of those that changed."""
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    chosen = rng.sample(range(len(rows)), len(rows) // 10)
    captions = [rows[index]["caption"] for index in chosen]
    wrong = set()
    for index, caption in zip(chosen, captions[1:] + captions[:1]):
        if rows[index]["caption"] != caption:
            rows[index]["caption"] = caption
            wrong.add(os.path.basename(rows[index]["path"]))
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return wrong


def auc(wrong, right):
    """The chance that a wrong one lies below a right one."""
    below = sum((a < b) + (a == b) / 2 for a in wrong for b in right)
    return below / (len(wrong) * len(right))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("curate")
    parser.add_argument("story")
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--seed", type=int, default=None)
    args = parser.parse_args()
    binary, story = os.path.realpath(args.curate), os.path.realpath(args.story)
    seed = random.randrange(1 << 30) if args.seed is None else args.seed
    steps = [int(found[1]) for found in map(re.compile(r"dit_(\d+)\.toml").fullmatch,
                                            os.listdir(story)) if found]
    if not steps:
        sys.exit(f"{story} has no dit_*.toml: tell the story first (make story)")
    newest = f"dit_{max(steps)}.toml"
    with tempfile.TemporaryDirectory() as folder:
        curate(binary, folder, "synth", "shapes", "shapes", "--count", str(args.clips),
               "--seed", str(seed))
        wrong = swap(os.path.join(folder, "shapes", "manifest.jsonl"), random.Random(seed))
        with open(os.path.join(story, "pipeline.toml"), encoding="utf-8") as file:
            recipe = file.read()
        with open(os.path.join(folder, "pipeline.toml"), "w", encoding="utf-8") as file:
            file.write(recipe)
        curate(binary, folder, "run", "pipeline.toml")
        table = os.path.join(folder, "table")
        # The run's own file, over another table: paths in it are seen from the story's folder.
        with open(os.path.join(story, newest), encoding="utf-8") as file:
            run = file.read().replace('table = "table"', f'table = "{table}"')
        path = os.path.join(folder, "losses.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(run)
        curate(binary, story, "encode", table, path, "--vae", "vae/vae.safetensors", "--text",
               "minilm-l6-v2")
        curate(binary, story, "train", "losses", path)
        sql = "select source_uri, caption_gain, loss from clips where loss_key is not null"
        rows = list(csv.DictReader(io.StringIO(curate(binary, story, "query", table, sql,
                                                      "--format", "csv"))))
    found = [(float(row["caption_gain"]), float(row["loss"]),
              os.path.basename(row["source_uri"]) in wrong) for row in rows]
    bad = [row for row in found if row[2]]
    good = [row for row in found if not row[2]]
    lowest = sorted(found)[:len(bad)]
    print(f"seed {seed}: {len(found)} clips, {len(bad)} with the caption of another")
    print(f"the {len(bad)} with the lowest caption_gain: {sum(row[2] for row in lowest)} of them")
    print(f"area under the curve: caption_gain {auc([r[0] for r in bad], [r[0] for r in good]):.4f},"
          f" loss {auc([-r[1] for r in bad], [-r[1] for r in good]):.4f}")


if __name__ == "__main__":
    main()
