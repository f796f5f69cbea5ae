"""Writes src/encoders/captions.json: captions, and what diffusers 0.28.2 makes of them.

    pip install --no-deps diffusers==0.28.2
    pip install ftfy beautifulsoup4
    python captions.py > ../../src/encoders/captions.json

Only the two pieces of the pipeline's source that clean are run, so that torch and transformers need
not be there.
"""

import ast
import html
import json
import re
import sys
import urllib.parse as ul
from html import escape
from importlib.metadata import files

import ftfy
from bs4 import BeautifulSoup

CAPTIONS = [
    "A young woman in a red coat walks along the beach at sunset, camera follows.",
    "  Two   dogs\trun\nacross a meadow.  ",
    "“Quotes” and ‘more quotes’ — dashes – everywhere…",
    "visit https://example.com/a/b?c=d now",
    "see www.shop.co/things or example.org for more",
    "mail me@example.com please",
    "by @photographer on stage",
    "<p>bold <b>text</b> &amp; more</p>",
    "a <person> rides a bike",
    "1 < 2 and 3 > 2",
    "中文字幕 with english",
    "カタカナ ラーメン and ひらがな",
    "this-is-my-cute-cat in the_garden",
    "well-known part-time job",
    "IMG_1234.jpg a dog",
    "photo.png of a cat.jpeg",
    "#123 in the series #45678",
    "article 123456789 about whales",
    "at 192.168.0.1 there is a server",
    "***SALE*** (50% off) [new] {hot} | cool",
    "free shipping worldwide free shipping",
    "download free wallpaper, free download",
    "click for details, click on me",
    "page 12 of the book",
    "jc6640 jc6640vc 6640vc231 model",
    "j2d1a2a code",
    "size 1920x1080 or 3.5×4.5 or 10х15",
    "time : now",
    "one,two.three/four",
    "'quoted'",
    "\"A whole caption in quotes\"",
    "'partly quoted",
    ", starts with a comma",
    "ends with a dash -",
    ".hidden",
    "",
    "   ",
    "...",
    "a .. b ... c",
    "hello . world",
    "caf\u00e9 cafe\u0301 \ufb01sh \uff21\uff22",
    "100% cotton+wool",
    "100%25 percent",
    "rock & roll &amp; blues &quot;live&quot;",
    "it&#39;s &eacute;t&eacute;",
    "&lt;b&gt;bold&lt;/b&gt;",
    escape(escape("a & b < c")),
    "the \"\"big\"\" '''show'''",
    "fish\\nchips",
    "score 3:45  ",
    "Gr\u00fc\u00dfe aus M\u00fcnchen \u2013 sch\u00f6n!",
    "\u041f\u0440\u0438\u0432\u0435\u0442 \u043c\u0438\u0440",
    "emoji \U0001f600 face",
    "a\u200bzero width",
    "tabs\x0band\x00control",
    "A drone shot over mountains; the camera pans left. 4k, 60fps, hdr",
    "In this video, a chef slices onions @ 2x speed ~ wow",
    "x_y_z under_score_d_words",
    "3d render of a 2-storey house",
    "h.264 mp4 images",
    "A man says: \"hello\"",
    "<script>alert(1)</script>safe",
    "<!-- comment -->text",
    "\u00bfqu\u00e9? \u00a1hola!",
    "ends with comma,",
    "-leading dash",
    "half \u00bd and degrees 20\u00b0",
]


def cleaner():
    path = next(f for f in files("diffusers") if f.name == "pipeline_pixart_alpha.py").locate()
    tree = ast.parse(path.read_text())
    pipeline = next(n for n in tree.body if getattr(n, "name", "") == "PixArtAlphaPipeline")
    wanted = [
        n
        for n in pipeline.body
        if getattr(n, "name", "") == "_clean_caption"
        or isinstance(n, ast.Assign) and n.targets[0].id == "bad_punct_regex"
    ]
    pipeline.body, pipeline.bases = wanted, []
    names = {"re": re, "html": html, "ul": ul, "ftfy": ftfy, "BeautifulSoup": BeautifulSoup}
    exec(compile(ast.Module([pipeline], []), str(path), "exec"), names)
    clean = names["PixArtAlphaPipeline"]()._clean_caption
    return lambda caption: clean(clean(caption))


def main():
    clean = cleaner()
    rows = [[caption, clean(caption)] for caption in CAPTIONS]
    json.dump(rows, sys.stdout, ensure_ascii=True, indent=0)
    print()


if __name__ == "__main__":
    main()
