#!/usr/bin/env python3
"""What `curate run` makes of every file of a folder, beside what ffprobe and ffmpeg say of it.

    make bench-media             (builds what it needs and calls this)
    benches/media_table.py CURATE FOLDER..

Prints a table: status and reason, codec, size as shown (turned, square pixels), frames, length and
transfer curve. Where the two disagree the cell shows both, ours first. Frames are those that
`ffmpeg -f null` gives out for the same stream.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse

from curate import rows, run

def by_curate(curate, folder):
    """By file name: the unit's and the clips' columns."""
    with tempfile.TemporaryDirectory() as work:
        recipe = os.path.join(work, "recipe.toml")
        with open(recipe, "w", encoding="utf-8") as file:
            file.write(f'[input]\npaths = [{json.dumps(folder)}]\n[output]\npath = "out"\n'
                       'form = "none"\n[[stage]]\nkind = "scenes"\n')
        run(curate, recipe)
        out = os.path.join(work, "out")
        name = lambda row: urllib.parse.unquote(row["source_uri"].rsplit("/", 1)[1])
        found = {}
        for row in rows(curate, out, "select source_uri, status, error_kind, error_message, "
                                     "frames_source, duration_s from units"):
            found[name(row)] = row
        for row in rows(curate, out, "select source_uri, codec, width, height, transfer, rotation, "
                                     "sum(num_frames) as frames from clips group by 1,2,3,4,5,6"):
            found[name(row)].update(row)
        return found


def shown_size(stream):
    """Width and height after turning and in square pixels."""
    width, height = stream.get("width", 0), stream.get("height", 0)
    num, _, den = stream.get("sample_aspect_ratio", "1:1").partition(":")
    if int(num) > 0 and int(den or 0) > 0:
        width = int(width * int(num) / int(den) + 0.5)
    turned = [data["rotation"] for data in stream.get("side_data_list", []) if "rotation" in data]
    # A matrix of zeros has no rotation, for which ffprobe shows the smallest number.
    is_turned = turned and abs(turned[0]) <= 360 and turned[0] % 180
    return (height, width) if is_turned else (width, height)


def by_ffmpeg(path, codec):
    """The best video stream by ffprobe, and the frames that ffmpeg decodes of it."""
    text = subprocess.run(["ffprobe", "-v", "quiet", "-of", "json", "-show_streams", "-show_format",
                           path], capture_output=True, text=True, check=False).stdout
    about = json.loads(text or "{}")
    streams = [s for s in about.get("streams", []) if s.get("codec_type") == "video"
               and not s.get("disposition", {}).get("attached_pic")]
    if not streams:
        return None
    def rank(stream):
        still = stream.get("nb_frames") == "1"
        area = stream.get("width", 0) * stream.get("height", 0)
        return (stream.get("codec_name", "unknown") not in ("unknown", "none"), not still,
                stream["disposition"]["default"], area, -stream["index"])
    stream = max(streams, key=rank)
    said = subprocess.run(["ffmpeg", "-nostdin", "-i", path, "-map", f"0:{stream['index']}",
                           "-fps_mode", "passthrough", "-f", "null", "-"],
                          capture_output=True, text=True, check=False, errors="replace").stderr
    counts = re.findall(r"frame=\s*(\d+)", said)
    return {
        "codec": stream.get("codec_name", codec),
        "size": shown_size(stream),
        "frames": int(counts[-1]) if counts else 0,
        "duration": about.get("format", {}).get("duration"),
        "transfer": stream.get("color_transfer"),
    }


def both(ours, theirs, same=lambda a, b: a == b):
    """One value if they agree, and whether they do."""
    if theirs is None or same(ours, theirs):
        return str(ours), True
    return f"**{ours}** / {theirs}", False


def main():
    curate, folders = sys.argv[1], sys.argv[2:]
    differences = 0
    for folder in folders:
        folder = os.path.abspath(folder)
        print(f"\n### {os.path.basename(folder)}\n")
        print("| file | status | codec | size | frames | seconds | transfer |")
        print("|---|---|---|---|---|---|---|")
        found = by_curate(curate, folder)
        for name in sorted(os.listdir(folder)):
            row = found.get(name)
            if row is None:
                print(f"| {name} | left aside: not a video by its name | | | | | |")
                continue
            status = row["status"]
            if row.get("error_message"):
                reason = row["error_message"].replace(folder + "/", "").replace("|", "/")
                status += f": {row['error_kind']} ({reason})"
            theirs = by_ffmpeg(os.path.join(folder, name), row.get("codec"))
            frames = row.get("frames_source") or 0
            if theirs is None or not row.get("codec"):
                beside = "" if theirs is None else f" / {theirs['frames']}"
                print(f"| {name} | {status} | | | {frames}{beside} | | |")
                continue
            near = lambda a, b: abs(a - float(b)) < 0.0015
            cells = [
                both(row["codec"], theirs["codec"]),
                both(f"{row['width']}x{row['height']}", "{}x{}".format(*theirs["size"])),
                both(frames, theirs["frames"]),
                both(round(row["duration_s"] or 0, 3), theirs["duration"], near),
                both(row.get("transfer"), theirs["transfer"] or row.get("transfer")),
            ]
            differences += sum(not agree for _, agree in cells)
            print(f"| {name} | {status} | " + " | ".join(text for text, _ in cells) + " |")
    print(f"\n{differences} cells differ.")


if __name__ == "__main__":
    main()
