#!/usr/bin/env bash
# One colour by LoRA, on a story that was told: story_lora.sh CURATE FOLDER
#
# The set has red shapes whose captions name no colour, so that what the adapters learn is that shapes are
# red. Prompts are fresh and name no colour either. Both sets of clips, without and with the adapters, are judged
# by their pixels: the share of red must go from at most 20 % to at least 80 %. All lies in FOLDER/lora.
set -euo pipefail

say() { printf 'story-lora: %s\n' "$*" >&2; }
fail() {
  say "$*"
  exit 1
}

(($# == 2)) || fail "usage: $0 CURATE FOLDER"
curate=$(realpath "$1")
story=$(realpath "$2")
recipes=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../../examples/story")
[[ -e $story/dit/model ]] || fail "$story has no dit/model: tell the story first (make story)"
mkdir -p "$story/lora"
cd "$story/lora"
cp "$recipes/lora.toml" "$recipes/pipeline.toml" .

# "a red circle" becomes "a circle", whatever the colour; the judge is to look for red.
colourless() { sed -E 's/\ban? [a-z]+ (circle|square|triangle)/a \1/; s/"color":"[a-z]+"/"color":"red"/'; }

if [[ ! -e shapes/named.jsonl ]]; then
  "$curate" synth shapes shapes --count 256 --seed 7 --only-color red
  cp shapes/manifest.jsonl shapes/named.jsonl
fi
colourless <shapes/named.jsonl >shapes/colourless.jsonl
sed -i 's#shapes/manifest#shapes/colourless#' pipeline.toml
"$curate" run pipeline.toml
"$curate" encode table lora.toml --vae ../dit/model/vae.safetensors --text minilm-l6-v2
if [[ ! -e prompts.jsonl ]]; then
  "$curate" synth prompts named.jsonl --count "${STORY_PROMPTS:-64}" --seed random
  colourless <named.jsonl >prompts.jsonl
fi
began=$SECONDS
"$curate" train lora lora.toml
say "trained in $((SECONDS - began)) s"

share() { # NAME OPTION...
  local name=$1
  shift
  "$curate" generate --model ../dit/model "$@" --prompts prompts.jsonl --batch 8 -o "$name" >/dev/null
  "$curate" synth score "$name" --prompts prompts.jsonl --sheet "$name/sheet.jpg" |
    sed -nE 's/^colour .*right: +([0-9.]+) %.*/\1/p'
}
before=$(share without)
after=$(share with --lora lora/lora.safetensors=1.0)
say "red: $before % without, $after % with the adapters; sheets in $story/lora/{without,with}/sheet.jpg"
awk -v before="$before" -v after="$after" 'BEGIN { exit !(before <= 20 && after >= 80) }' ||
  fail "that is not from at most 20 % to at least 80 %"
