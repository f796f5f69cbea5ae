"""Reads exports with the programs they are for, and prints what it found as JSON.

    read_exports.py WEBDATASET_FOLDER PARQUET_FOLDER
"""

import glob
import hashlib
import json
import sys

import pyarrow.parquet
import webdataset


def digest(video: bytes) -> str:
    return hashlib.sha256(video).hexdigest()


def main() -> None:
    tars, parquet = sys.argv[1:]
    found = {"webdataset": {}, "parquet": {}}
    shards = sorted(glob.glob(f"{tars}/clips-*.tar"))
    for sample in webdataset.WebDataset(shards, shardshuffle=False, empty_check=False):
        row = json.loads(sample["json"])
        assert row["clip_id"] == sample["__key__"], sample["__key__"]
        found["webdataset"][sample["__key__"]] = [sample["txt"].decode(), digest(sample["mp4"])]
    for path in sorted(glob.glob(f"{parquet}/data/*.parquet")):
        for row in pyarrow.parquet.read_table(path).to_pylist():
            assert row["video"]["path"] == f"{row['clip_id']}.mp4", row["video"]["path"]
            found["parquet"][row["clip_id"]] = [row["caption"], digest(row["video"]["bytes"])]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
