"""Makes the frames and reference numbers of the test of quality measures.

    make_fixture.py bigbuckbunny.mp4 MODEL RANGE OUT_FOLDER

Crops of "Big Buck Bunny", (c) Blender Foundation, CC BY 3.0: quality_frames.z (zlib, the frames' bytes
one after another) and quality_reference.json (their sizes and what quality_reference.py says).
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import zlib

# Name, seconds, width, height, left, top, pixel format.
CROPS = [
    ("fur", 0.5, 208, 196, 500, 260, "gray"),
    ("meadow", 1.5, 256, 200, 120, 420, "gray"),
    ("sky", 2.5, 256, 200, 640, 20, "gray"),
    ("trees", 3.5, 208, 200, 40, 60, "gray"),
    ("odd", 4.5, 245, 197, 777, 333, "gray"),
    ("half", 4.0, 208, 196, 300, 100, "gray"),
    ("color", 5.0, 206, 194, 540, 320, "bgr24"),
]


def main():
    video, model, ranges, out = sys.argv[1:]
    out, script = pathlib.Path(out), pathlib.Path(__file__).with_name("quality_reference.py")
    with tempfile.TemporaryDirectory() as folder:
        frames, raw = {}, b""
        for name, at, width, height, left, top, pixels in CROPS:
            path = f"{folder}/{name}"
            scale = "scale=640:-2," if name == "half" else ""
            crop = f"{scale}format=rgb24,crop={width}:{height}:{left}:{top},format={pixels}"
            command = ["ffmpeg", "-v", "error", "-ss", str(at), "-i", video, "-frames:v", "1"]
            command += ["-vf", crop, "-f", "rawvideo", path]
            subprocess.run(command, check=True)
            frames[f"{path}:{width}x{height}"] = (name, width, height, 3 if pixels == "bgr24" else 1)
            raw += pathlib.Path(path).read_bytes()
        said = subprocess.check_output([sys.executable, "-W", "ignore", script, model, ranges, *frames])
    numbers = json.loads(said)
    described = [
        {"name": name, "width": width, "height": height, "bytes_per_pixel": channels, **numbers[frame]}
        for frame, (name, width, height, channels) in frames.items()
    ]
    (out / "quality_frames.z").write_bytes(zlib.compress(raw, 9))
    (out / "quality_reference.json").write_text(json.dumps(described, indent=1) + "\n")


if __name__ == "__main__":
    main()
