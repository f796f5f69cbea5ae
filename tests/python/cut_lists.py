"""PySceneDetect's own cut lists.

    cut_lists.py write VIDEO FOLDER    detects scenes and writes them as list-scenes and save-edl do
    cut_lists.py read VIDEO LIST       reads a list as load-scenes does

Both print the cuts as a JSON list of [frame number, seconds].
"""

import json
import os
import sys
from types import SimpleNamespace

from scenedetect import ContentDetector, SceneManager, open_video
from scenedetect._cli.controller import _load_scenes
from scenedetect.output import write_scene_list, write_scene_list_edl

action, path, where = sys.argv[1:]
video = open_video(path)
if action == "write":
    manager = SceneManager()
    manager.add_detector(ContentDetector())
    manager.detect_scenes(video)
    scenes = manager.get_scene_list(start_in_scene=True)
    cuts = [start for start, _ in scenes[1:]]
    name = os.path.join(where, video.name)
    write_scene_list(f"{name}-Scenes.csv", scenes, cut_list=cuts)
    write_scene_list_edl(f"{name}.edl", scenes, title=video.name)
else:
    # The command's settings, as its parser leaves them.
    command = SimpleNamespace(load_scenes_input=where, load_scenes_column_name="Start Frame",
                              video_stream=video, start_time=None, end_time=None, duration=None)
    _, cuts = _load_scenes(command)
json.dump([[cut.frame_num, cut.seconds] for cut in cuts], sys.stdout)
