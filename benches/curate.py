"""What the scripts beside this one share: recipes over one source, what tables say, what programs cost."""

import argparse
import json
import os
import resource
import subprocess
import sys
import time


def call(command, **options):
    """Runs a command; what it said."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False, **options)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed with {done.returncode}:\n{done.stdout}")
    return done.stdout


def measure(work):
    """Calls a function that waits for its programs; wall seconds, CPU seconds, and its result."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    result = work()
    wall = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, result


def frames_of(path):
    """Width, height and packets of a video."""
    text = subprocess.run(
        ["ffprobe", "-v", "error", "-select_streams", "v:0", "-count_packets", "-show_entries",
         "stream=nb_read_packets,width,height", "-of", "csv=p=0", path],
        capture_output=True, text=True, check=True).stdout
    width, height, packets = text.strip().strip(",").split(",")[:3]
    return int(width), int(height), int(packets)


def repeat(video, frames, target):
    """The video over and over, by stream copy, to at least so many frames."""
    loops = -(-frames // frames_of(video)[2]) - 1
    call(["ffmpeg", "-v", "error", "-stream_loop", str(loops), "-i", video, "-map", "0:v:0", "-c",
          "copy", target])


def decode(path, threads):
    """The command that decodes a video and does nothing else: the limit."""
    return ["ffmpeg", "-nostdin", "-v", "error", "-threads", str(threads), "-i", path,
            "-f", "null", "-"]


def speed_arguments(description):
    """The arguments of scripts that time a program on a repeated video."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("curate")
    parser.add_argument("video")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=4000)
    return parser


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
