"""rapidocr's text detector as a reference, and pictures whose text polygons are known exactly.

    text_reference.py render DIR            writes PNGs and DIR/truth.json
    text_reference.py detect [options] PNG...   one JSON object a line: boxes and scores
    text_reference.py time PNG...           ms of the network with one thread, by input size

`detect` calls rapidocr's own preprocessing, session and post-processing and pairs each box with its
own score. (`TextDetector.__call__` sorts the boxes afterwards but leaves the scores in the old
order.) With `--maps DIR` it also writes the probability map as raw little-endian f32, rows first.
Needs rapidocr==3.10.0, onnxruntime, opencv-python-headless and pillow.
"""

import argparse
import json
import math
import pathlib
import random
import time

FONT_SIZES = {"tiny": 11, "small": 18, "normal": 30, "large": 56}
WORDS = (
    "Harbour lights at dawn", "EXIT 24", "Open daily until nine", "Platform 7", "Fresh bread",
    "no parking", "Chapter Twelve", "The long way home", "SALE", "www.example.org", "12:45",
    "Speed limit 50", "Museum of Clocks", "Thank you", "Previously", "Directed by nobody",
)


def background(rng, size):
    """A plain, graded or noisy picture."""
    import numpy as np
    from PIL import Image

    width, height = size
    kind = rng.randrange(3)
    noise = np.random.default_rng(rng.randrange(1 << 30))
    base = np.full((height, width, 3), [rng.randrange(20, 90) for _ in range(3)], np.float64)
    if kind >= 1:
        base += np.linspace(0, 60, width)[None, :, None]
        base += np.linspace(-15, 40, height)[:, None, None]
    if kind == 2:
        coarse = noise.normal(0, 22, (height // 12 + 1, width // 12 + 1, 3))
        base += np.kron(coarse, np.ones((12, 12, 1)))[:height, :width]
        base += noise.normal(0, 6, base.shape)
    return Image.fromarray(base.clip(0, 255).astype(np.uint8))


def place(picture, text, font, centre, degrees, colour):
    """Draws a line of text turned counter-clockwise; gives the corners of its inked rectangle."""
    from PIL import Image, ImageDraw

    width, height = picture.size
    layer = Image.new("L", picture.size, 0)
    draw = ImageDraw.Draw(layer)
    box = draw.textbbox((0, 0), text, font=font)
    at = (width // 2 - (box[0] + box[2]) // 2, height // 2 - (box[1] + box[3]) // 2)
    draw.text(at, text, fill=255, font=font)
    left, top, right, bottom = layer.getbbox()
    middle = (width / 2, height / 2)
    shift = (centre[0] - middle[0], centre[1] - middle[1])
    turned = layer.rotate(degrees, Image.BICUBIC, center=middle, translate=shift)
    picture.paste(Image.new("RGB", picture.size, colour), (0, 0), turned)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = []
    for x, y in ((left, top), (right, top), (right, bottom), (left, bottom)):
        dx, dy = x - middle[0], y - middle[1]
        corners.append([centre[0] + dx * cos + dy * sin, centre[1] - dx * sin + dy * cos])
    xs, ys = [c[0] for c in corners], [c[1] for c in corners]
    ink = turned.point(lambda v: 255 * (v > 128)).getbbox()
    if ink:
        inside = min(xs) - 2 <= ink[0] and max(xs) + 2 >= ink[2]
        assert inside and min(ys) - 2 <= ink[1] and max(ys) + 2 >= ink[3], (ink, corners)
    return corners


def render(folder):
    from PIL import ImageFont

    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(7)
    # Name, font size, angle or a range of them, lines.
    plans = []
    for index in range(4):
        plans += [
            (f"level{index}", "normal", 0, 1 + index), (f"tiny{index}", "tiny", 0, 2),
            (f"turned{index}", "normal", (-40, 40), 2), (f"vertical{index}", "normal", 90, 2),
            (f"large{index}", "large", (-10, 10), 1), (f"many{index}", "small", (-8, 8), 6),
            (f"none{index}", "normal", 0, 0),
        ]
    sizes = ((640, 360), (960, 540), (854, 480), (1280, 720))
    truth = {}
    for index, (name, size, angle, lines) in enumerate(plans):
        frame = sizes[index % len(sizes)]
        picture = background(rng, frame)
        font = ImageFont.load_default(FONT_SIZES[size])
        corners, taken = [], []
        while len(corners) < lines:
            degrees = rng.uniform(*angle) if isinstance(angle, tuple) else angle
            text = rng.choice(WORDS)
            long, tall = font.getlength(text), FONT_SIZES[size] * 1.3
            turn = math.radians(degrees)
            half = (abs(long * math.cos(turn)) + abs(tall * math.sin(turn))) / 2 + 12
            up = (abs(long * math.sin(turn)) + abs(tall * math.cos(turn))) / 2 + 12
            if half * 2 >= frame[0] or up * 2 >= frame[1]:
                continue
            for _ in range(60):
                x, y = rng.uniform(half, frame[0] - half), rng.uniform(up, frame[1] - up)
                if all(abs(x - a) > half + c or abs(y - b) > up + d for a, b, c, d in taken):
                    break
            else:
                lines -= 1
                continue
            taken.append((x, y, half, up))
            colour = tuple(rng.randrange(190, 256) for _ in range(3))
            corners.append(place(picture, text, font, (x, y), degrees, colour))
        picture.save(folder / f"{name}.png")
        truth[name] = corners
    (folder / "truth.json").write_text(json.dumps(truth))


def detector(limit, kind, threads):
    """rapidocr's detector with its default configuration but for the size and the threads."""
    from rapidocr import RapidOCR

    ocr = RapidOCR(params={
        "Det.limit_side_len": limit, "Det.limit_type": kind, "Global.log_level": "error",
        "EngineConfig.onnxruntime.intra_op_num_threads": threads,
    })
    return ocr._load_det_model()


def detect(paths, limit, kind, maps):
    import cv2

    model = detector(limit, kind, 1)
    for path in paths:
        picture = cv2.imread(str(path))
        height, width = picture.shape[:2]
        tensor = model.get_preprocess()(picture)
        output = model.session(tensor)
        boxes, scores = model.postprocess_op(output, (height, width))
        if maps:
            output[0, 0].astype("<f4").tofile(maps / f"{path.stem}.f32")
        print(json.dumps({
            "name": path.stem, "size": [width, height],
            "input": [tensor.shape[3], tensor.shape[2]],
            "boxes": [box.tolist() for box in boxes], "scores": [float(s) for s in scores],
        }), flush=True)


def measure(paths):
    import cv2

    for limit, kind in ((736, "min"), (480, "min"), (736, "max"), (480, "max")):
        model = detector(limit, kind, 1)
        for path in paths:
            picture = cv2.imread(str(path))
            tensor = model.get_preprocess()(picture)
            model.session(tensor)
            runs, posts, pres = [], [], []
            for _ in range(5):
                begun = time.perf_counter()
                tensor = model.get_preprocess()(picture)
                pres.append(time.perf_counter() - begun)
                begun = time.perf_counter()
                output = model.session(tensor)
                runs.append(time.perf_counter() - begun)
                begun = time.perf_counter()
                model.postprocess_op(output, picture.shape[:2])
                posts.append(time.perf_counter() - begun)
            print(limit, kind, path.stem, f"{tensor.shape[3]}x{tensor.shape[2]}",
                  f"network {min(runs) * 1e3:.0f} ms (median {sorted(runs)[2] * 1e3:.0f}),",
                  f"before {min(pres) * 1e3:.1f}, after {min(posts) * 1e3:.1f}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("render", "detect", "time"))
    parser.add_argument("paths", nargs="+", type=pathlib.Path)
    parser.add_argument("--limit", type=int, default=736)
    parser.add_argument("--kind", choices=("min", "max"), default="min")
    parser.add_argument("--maps", type=pathlib.Path)
    options = parser.parse_args()
    if options.what == "render":
        render(options.paths[0])
    elif options.what == "detect":
        detect(options.paths, options.limit, options.kind, options.maps)
    else:
        measure(options.paths)


if __name__ == "__main__":
    main()
