#!/usr/bin/env python3
"""How many copies of clips the perceptual hash finds, and what it takes for copies wrongly.

    benches/dedup_rates.py HASHES MEDIA FOLDER

HASHES is the program `dedup_rates` (a bench of this repository), MEDIA a folder with `clips/`,
`scenes/` and `text/`, FOLDER where copies and frames go (about 3 GB; what is there is used again).
Each video is cut into shots by the known cuts, and those into pieces of at most 6 s. FFmpeg makes
the copies of every piece; frames are picked from them as the stage picks them, two a second from
the first on. They are made at most 384 pixels large: the codec then does more harm than it would at the
film's size. Printed are, for several thresholds, the share of copies found by kind of copy, and the
pairs of different pieces that are as close.

Which videos are of one film was found by looking at them: FILMS. Pieces of one film overlap in time,
show one still scene, or are other encodings of each other, so pairs in one film are counted apart.
"""

import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

PER_SECOND = 2
MOST_S = 6.0
WIDTH = 384
X264 = ["-c:v", "libx264", "-preset", "superfast", "-threads", "1", "-crf"]
BLACK = "ax_long_180p_av1.mp4"
SIDE = 512

# Videos of one film have one name here; any other video is a film of its own.
FILMS = {
    "ax_bt601.mov": "man", "ax_sample.flv": "man", "ax_sample_av1.mp4": "man",
    "ax_sample_with_srt.mkv": "man",
    # The same man turned by a quarter: no copy that is looked for, but no other film either.
    "ax_sample_portrait.mp4": "man", "ax_sample_rotate_and_reflect.mp4": "man",
    "mdn_flower.mp4": "flower", "mdn_flower.webm": "flower", "burn_sub1_flower.mp4": "flower",
    "intel_car-detection.mp4": "car", "burn_none_car.mp4": "car",
    "intel_bottle-detection.mp4": "bottle", "mdn_frog.mp4": "frog", "mdn_stream-of-water.webm": "stream",
    "ax_bbb_176x144_128kbps_15fps_h263.3gp": "bbb", "ax_bbb_1920x1080_60fps_vp8.webm": "bbb",
    "ax_bbb_2500ms.ts": "bbb", "ax_bbb_642x642_768kbps_30fps_vp9.webm": "bbb",
    "ax_bbb_800x640_768kbps_30fps_avc_2b_firstpts_10_sec.mp4": "bbb",
    "skv_bigbuckbunny.mp4": "bbb", "bbb_0_30.webm": "bbb", "bbb_1080p30.mp4": "bbb",
    # FFmpeg's test pattern, which is one picture but for numbers and overlays.
    "ax_sample_12_5fps_720p_1s.mp4": "testsrc", "torchcodec_bt709_full_range.mp4": "testsrc",
    "torchcodec_h264_10bits.mp4": "testsrc",
    "cosmos_sintel_trailer_30s.mp4": "sintel", "burn_lowerthird_friday.mp4": "friday",
}
# The films that the shots of the composed film are from.
COMPOSED = ["flower", "bottle", "bbb", "crystal", "sintel", "car", "friday", "stream", "person", "book",
            "bbb", "nasa", "pig", "frog", "rabbit", "elf", "monster"]
COMPOSE = "compose_hard17_640x360_25.mp4"
# As `Limits::default()` has them.
BITS, SURE_BITS, LOOKS_SHARE = 10, 6, 0.2
THRESHOLDS = (4, 6, 8, 9, 10, 11, 12)
# By words in the name of the kind of copy.
GROUPS = {"all encoded anew": ["crf", "fps"], "all resized": ["size", "narrowed", "widened"],
          "all cropped": ["crop"], "all boxed": ["box"], "all mirrored": ["mirrored"]}
EVEN = "scale=trunc(iw/2)*2:trunc(ih/2)*2"
# Kinds of copy: filter, and the constant rate factor of x264.
COPIES = {
    "exact": (None, None),
    "crf 30": ("null", 30),
    "crf 36": ("null", 36),
    "12 fps": ("fps=12", 23),
    "24 fps": ("fps=24", 23),
    "half size": ("scale=iw/2:ih/2", 23),
    "1.5 size": ("scale=iw*1.5:ih*1.5", 23),
    "narrowed to 0.75": ("scale=iw*3/4:ih", 23),
    "widened to 1.33": ("scale=iw*4/3:ih", 23),
    "crop 5 % centre": ("crop=iw*0.95:ih*0.95", 23),
    "crop 5 % left": ("crop=iw*0.95:ih:iw*0.05:0", 23),
    "crop 5 % right": ("crop=iw*0.95:ih:0:0", 23),
    "crop 5 % top": ("crop=iw:ih*0.95:0:ih*0.05", 23),
    "crop 5 % bottom": ("crop=iw:ih*0.95:0:0", 23),
    "letterboxed": ("pad=iw:ih*1.34:0:(oh-ih)/2", 23),
    "pillarboxed": ("pad=iw*1.34:ih:(ow-iw)/2:0", 23),
    "mirrored": ("hflip", 23),
    "mirrored, crf 36": ("hflip", 36),
    # Beyond what is asked for.
    "+ mirror crop half": ("hflip,crop=iw*0.95:ih*0.95,scale=iw/2:ih/2", 28),
    "+ letterbox half crf 36": ("scale=iw/2:ih/2,pad=iw:ih*1.34:0:(oh-ih)/2", 36),
    "+ gamma 1.3": ("eq=gamma=1.3", 23),
    "+ crop 10 % centre": ("crop=iw*0.9:ih*0.9", 23),
    "+ subtitle": ("drawbox=x=iw*0.2:y=ih*0.88:w=iw*0.6:h=ih*0.06:color=white:t=fill", 23),
}


def probe(path):
    """Seconds, frames a second, and the time of the first frame."""
    out = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries",
                          "stream=avg_frame_rate,duration,start_time:format=duration", "-of", "json", path],
                         capture_output=True, check=True, text=True).stdout
    info = json.loads(out)
    over, under = info["streams"][0]["avg_frame_rate"].split("/")
    seconds = float(info["streams"][0].get("duration") or info["format"]["duration"])
    first = float(info["streams"][0].get("start_time") or 0)
    return seconds, float(over) / max(float(under), 1), first


def pieces(media):
    """Name, file, film, start and length of every piece."""
    with open(os.path.join(media, "scenes", "GT.json"), encoding="utf-8") as file:
        truth = json.load(file)["videos"]
    out = []
    for folder in ("clips", "scenes", "text"):
        for name in sorted(os.listdir(os.path.join(media, folder))):
            path = os.path.join(media, folder, name)
            if name.endswith(".json") or name in ("ax_sample_vvc.mp4",
                                                  "ax_video_dovi_3840x2160_30fps_dav1_10.mp4"):
                continue  # FFmpeg 5.1 decodes neither.
            seconds, rate, first = probe(path)
            known = truth.get(name, {})
            # FFmpeg seeks from the first frame on.
            cuts = [cut - first for cut in known.get("cut_seconds", [])]
            cuts = cuts or [cut / rate for cut in known.get("hard_cuts", [])]
            edges = [0.0, *cuts, seconds]
            for shot, (start, end) in enumerate(zip(edges, edges[1:])):
                film = FILMS.get(name, name)
                if name.startswith("compose_hard17"):
                    film = COMPOSED[shot]
                part = 0
                while (end - start > 0.2 or part == 0) and (name != BLACK or part < 2):
                    length = min(end - start, MOST_S)
                    label = f"{name}.{shot}.{part}"
                    out.append({"name": label, "path": path, "film": film, "start": start,
                                "length": length, "file": name, "shot": shot,
                                "folder": folder})
                    start, part = start + length, part + 1
    return out


def run(arguments):
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments], check=True)


def make(piece, folder, kinds):
    """The piece as a file, and its copies."""
    base = os.path.join(folder, "copies", piece["name"])
    os.makedirs(base, exist_ok=True)
    whole = os.path.join(base, "whole.mp4")
    if not os.path.exists(whole):
        small = (f"scale='if(gte(iw,ih),min(iw,{WIDTH}),-2)':'if(gte(iw,ih),-2,min(ih,{WIDTH}))',"
                 f"setsar=1,{EVEN}")
        seek = ["-ss", f"{piece['start']:.4f}"] if piece["start"] > 0 else []
        run([*seek, "-i", piece["path"], "-t", f"{piece['length'] - 0.012:.4f}", "-map", "0:v:0", "-an",
             "-vf", small, "-vsync", "passthrough", "-pix_fmt", "yuv420p", *X264, "10",
             whole + ".part.mp4"])
        os.rename(whole + ".part.mp4", whole)
    arguments, made = ["-i", whole], []
    for kind in kinds:
        path = os.path.join(base, f"{kind}.mp4")
        if not os.path.exists(path):
            filters, crf = COPIES[kind]
            how = ["-vf", f"{filters},{EVEN}", *X264, str(crf)] if filters else ["-c", "copy"]
            arguments += ["-map", "0:v:0", *how, path + ".part.mp4"]
            made.append(path)
    if made:
        run(arguments)
    for path in made:
        os.rename(path + ".part.mp4", path)
    return [whole, *(os.path.join(base, f"{kind}.mp4") for kind in kinds)]


def frames(paths):
    """Grey frames beside each video: portable grey maps, one after the other."""
    slot = f"floor(t*{PER_SECOND}+1e-6)"
    pick = f"select='isnan(prev_selected_t)+gt({slot},floor(prev_selected_t*{PER_SECOND}+1e-6))'"
    out = [path + ".pgm" for path in paths]
    inputs, outputs = [], []
    for path, grey in zip(paths, out):
        if not os.path.exists(grey):
            outputs += ["-map", f"{len(inputs) // 4}:v:0", "-vf",
                        f"setpts=PTS-STARTPTS,{pick},scale='min(iw,{SIDE})':'min(ih,{SIDE})':"
                        "force_original_aspect_ratio=decrease:flags=area", "-vsync", "passthrough",
                        "-pix_fmt", "gray", "-c:v", "pgm", "-f", "image2pipe", grey + ".part"]
            inputs += ["-threads", "1", "-i", path]
    if inputs:
        run([*inputs, *outputs])
    for grey in out:
        if os.path.exists(grey + ".part"):
            os.rename(grey + ".part", grey)
    return out


def prepare(media, folder):
    """All pieces, with the files of grey frames of each kind of copy."""
    def one(piece):
        # Other encodings of the composed film are copies themselves, and black ones have no hash.
        leave = piece["file"].startswith("compose") and piece["file"] != COMPOSE
        kinds = [] if leave or piece["file"] == BLACK else list(COPIES)
        made = make(piece, folder, kinds)
        piece["frames"] = dict(zip(["whole", *kinds], frames(made)))
        return piece

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, pieces(media)))


def measure(program, prepared):
    """Adds the hash (None where there is none), contrast, exposure and time of every file."""
    files = [path for piece in prepared for path in piece["frames"].values()]
    out = subprocess.run([program], input="\n".join(files) + "\n", capture_output=True, check=True,
                         text=True)
    lines = iter(out.stdout.splitlines())
    for piece in prepared:
        piece["seen"] = {}
        for kind in piece["frames"]:
            code, contrast, exposure, micros = next(lines).split()
            piece["seen"][kind] = (None if code == "none" else int(code, 16), float(contrast),
                                   float(exposure), int(micros))


def mirror_mask(prepared):
    """The bits that flip when a clip is mirrored, as the program's source has them: waves of an odd
    number across, from coarse to fine."""
    order = sorted(((y, x) for y in range(10) for x in range(10) if (y, x) != (0, 0)),
                   key=lambda at: (at[0] ** 2 + at[1] ** 2, at))[:64]
    return sum((x % 2) << bit for bit, (_, x) in enumerate(order))


def report(prepared):
    mask = mirror_mask(prepared)

    def distance(a, b):
        return min((a ^ b).bit_count(), (a ^ b ^ mask).bit_count())

    whole = [piece for piece in prepared if piece["seen"]["whole"][0] is not None]
    empty = [piece for piece in prepared if piece["seen"]["whole"][0] is None]
    print(f"{len(prepared)} pieces of {len({p['film'] for p in prepared})} films; without a hash: "
          + ", ".join(piece["name"] for piece in empty))
    micros = sorted(seen[3] for piece in prepared for seen in piece["seen"].values())
    print(f"time for a hash: median {micros[len(micros) // 2]} us")

    print("\nshare of copies found, by most bits")
    print(f"{'':28s}{'copies':>7s}{'mean':>7s}{'most':>6s}" + "".join(f"{t:>8d}" for t in THRESHOLDS)
          + "  defaults")
    groups = {}
    for kind in COPIES:
        bits, found = [], []
        for piece in whole:
            if kind in piece["seen"]:
                seen = piece["seen"][kind][0]
                bits.append(64 if seen is None else distance(piece["seen"]["whole"][0], seen))
                found.append(agree(piece["seen"]["whole"], piece["seen"][kind], bits[-1]))
        row(kind, bits, found)
        for group in GROUPS:
            if not kind.startswith("+") and any(word in kind for word in GROUPS[group]):
                for all_of, some in zip(groups.setdefault(group, ([], [])), (bits, found)):
                    all_of.extend(some)
    pairs = [(a, b) for at, a in enumerate(whole) for b in whole[:at]]
    encodings = [distance(a["seen"]["whole"][0], b["seen"]["whole"][0]) for a, b in pairs
                 if a["file"].startswith("compose") and b["file"].startswith("compose")
                 and a["file"] != b["file"] and a["name"].split(".")[-2:] == b["name"].split(".")[-2:]]
    print()
    for group, (bits, found) in groups.items():
        row(group, bits, found)
    row("4 encodings of one film", encodings, [])

    print("\npairs of different films")
    for name, folders in (("clips/", ("clips",)), ("all", ("clips", "scenes", "text"))):
        bits = sorted((distance(a["seen"]["whole"][0], b["seen"]["whole"][0]), a["name"], b["name"])
                      for a, b in pairs if a["film"] != b["film"]
                      and a["folder"] in folders and b["folder"] in folders)
        counts = ", ".join(f"{sum(b <= t for b, *_ in bits)} within {t}" for t in (*THRESHOLDS, 14, 16))
        print(f"  {name}: {len(bits)} pairs, {counts}")
        print("    closest: " + ", ".join(f"{b} {x} {y}" for b, x, y in bits[:3]))
    one = [(a["seen"]["whole"][0] ^ b["seen"]["whole"][0] ^ flip).bit_count()
           for a, b in pairs if a["film"] != b["film"] for flip in (0, mask)]
    mean = sum(one) / len(one)
    spread = (sum((b - mean) ** 2 for b in one) / len(one)) ** 0.5
    free = 64 ** 2 * (mean / 64) * (1 - mean / 64) / spread ** 2
    print(f"  bits that differ: mean {mean:.2f}, deviation {spread:.2f}, as {free:.1f} independent bits")
    lengths = [abs(a["length"] - b["length"]) <= max(0.2, 0.05 * max(a["length"], b["length"]))
               for a, b in pairs if a["film"] != b["film"]]
    print(f"  of these {sum(lengths) / len(lengths):.3f} agree in length")
    print("  expected among a million unrelated clips of one length, mirrored ones included: "
          + ", ".join(f"{5e11 * 2 * tail(free, t):.3g} within {t}" for t in THRESHOLDS))
    second(whole, pairs)

    print("\npairs of one film, the composed one's other encodings left out")
    films = [(distance(a["seen"]["whole"][0], b["seen"]["whole"][0]), a["name"], b["name"])
             for a, b in pairs if a["film"] == b["film"]
             and len(a["seen"]) > 1 and len(b["seen"]) > 1]
    print(f"  {len(films)} pairs; those within 14:")
    for bits, a, b in sorted(films):
        if bits <= 14:
            print(f"    {bits:2d} {a}  {b}")


def agree(a, b, bits):
    """What `Limits::default()` says of two looks this many bits apart."""
    return bits <= SURE_BITS or bits <= BITS and all(
        abs(x - y) <= LOOKS_SHARE * max(x, y) for x, y in zip(a[1:3], b[1:3]))


def second(whole, pairs):
    """Contrast and exposure as a second opinion."""
    both = [True] * sum(a["film"] != b["film"] for a, b in pairs)
    for name, at in (("contrast", 1), ("exposure", 2)):
        def apart(a, b):
            return abs(a[at] - b[at]) / max(a[at], b[at], 1e-9)
        of_copies = sorted(apart(piece["seen"][kind], piece["seen"]["whole"]) for piece in whole
                           for kind in piece["seen"] if kind != "whole" and not kind.startswith("+"))
        others = [apart(a["seen"]["whole"], b["seen"]["whole"]) <= LOOKS_SHARE for a, b in pairs
                  if a["film"] != b["film"]]
        both = [x and y for x, y in zip(both, others)]
        shares = ", ".join(f"{share:.0%} within {of_copies[int(len(of_copies) * share) - 1]:.3f}"
                           for share in (0.95, 0.98, 0.99))
        print(f"  {name}: of copies {shares}; of pairs of different films "
              f"{sum(others) / len(others):.3f} within {LOOKS_SHARE}")
    print(f"  contrast and exposure of different films both agree in {sum(both) / len(both):.3f}")


def tail(free, most):
    """Chance that so many independent fair bits differ in at most as large a share as `most` of 64."""
    count, chance, scaled = round(free), 0.0, most * free / 64
    for bits in range(int(scaled) + 1):
        chance += math.comb(count, bits) / 2 ** count
    # Between two whole numbers, a share of the next.
    return chance + (scaled - int(scaled)) * math.comb(count, int(scaled) + 1) / 2 ** count


def row(name, bits, agreeing):
    found = "".join(f"{sum(b <= t for b in bits) / len(bits):8.3f}" for t in THRESHOLDS)
    print(f"{name:28s}{len(bits):7d}{sum(bits) / len(bits):7.2f}{max(bits):6d}{found}"
          + (f"{sum(agreeing) / len(agreeing):10.3f}" if agreeing else ""))


def main():
    program, media, folder = sys.argv[1:]
    prepared = prepare(media, folder)
    measure(program, prepared)
    report(prepared)


if __name__ == "__main__":
    main()
