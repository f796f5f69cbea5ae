"""Runs the loader of the README as it is printed there, and prints captions and sizes as JSON.

    readme_loader.py README TABLE
"""

import json
import re
import sys
import textwrap


def main() -> None:
    readme, table = sys.argv[1:]
    text = open(readme, encoding="utf-8").read()
    block = re.search(r"((?:^(?: {4}.*)?\n)*^ {4}class Clips.*\n(?:^(?: {4}.*)?\n)*)", text, re.M)
    code = textwrap.dedent(block.group(1)).strip()
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 10, f"{len(lines)} lines"
    names: dict = {}
    exec(code, names)
    clips = names["Clips"](table)
    found = [clips[index] for index in range(len(clips))]
    json.dump([[caption, len(video), video[4:8].decode("latin1")] for caption, video in found], sys.stdout)


if __name__ == "__main__":
    main()
