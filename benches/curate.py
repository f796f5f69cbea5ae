"""What the scripts beside this one share: recipes over one source, and what tables say."""

import json
import os
import subprocess
import sys


def run(curate, recipe):
    """Runs a recipe; what it said. 3: a sample whose last frames are damaged is still a sample."""
    done = subprocess.run([curate, "run", recipe], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        sys.exit(done.stderr)
    return done.stderr


def rows(curate, out, sql):
    """The answer to a query, as a list of dictionaries."""
    text = subprocess.run([curate, "query", out, sql, "--format", "json"],
                          capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def write_recipe(folder, name, sources, output, stages):
    """Writes a recipe: more lines of `[output]`, and what comes after; its path and the table's."""
    path = os.path.join(folder, f"{name}.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f'[input]\npaths = {json.dumps(sources)}\n[output]\npath = "{name}"\n'
                   f'{output}\n{stages}\n')
    return path, os.path.join(folder, name)


def scenes_recipe(folder, name, video, settings):
    """A recipe that cuts a video into whole scenes."""
    return write_recipe(folder, name, [video], 'form = "none"',
                        f'[[stage]]\nkind = "scenes"\nmax_s = 1e6\n{settings}')


def first_frames(curate, out):
    """Start frames of all scenes but the first, counted by the frames of the clips before."""
    cuts, frame = [], 0
    for row in rows(curate, out, "select num_frames from clips order by start_pts")[:-1]:
        frame += row["num_frames"]
        cuts.append(frame)
    return cuts
