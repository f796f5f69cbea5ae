"""Reads a table with pylance alone: read_clips.py OUT FOLDER

Writes the bytes of every kept clip into FOLDER (named by its clip_id) and prints a JSON line for
each with its identity and span, so that a test can compare the frames with the source's.
"""

import json
import os
import sys

import lance

out, folder = sys.argv[1:]
dataset = lance.dataset(os.path.join(out, "clips.lance"))
columns = ["clip_id", "source_uri", "start_pts", "end_pts", "tb_num", "tb_den", "video_form",
           "video_skip_frames"]
table = dataset.to_table(columns=columns, filter="status = 'kept'", with_row_id=True)
rows = table.to_pylist()
blobs = dataset.take_blobs("video", ids=[row.pop("_rowid") for row in rows])
for row, blob in zip(rows, blobs, strict=True):
    with open(os.path.join(folder, row["clip_id"]), "wb") as file:
        file.write(blob.read())
    print(json.dumps(row))
