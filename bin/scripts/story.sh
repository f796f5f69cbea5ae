#!/usr/bin/env bash
# The whole way on procedural clips, from video files to a score: story.sh CURATE FOLDER [smoke]
#
#   clips of shapes -> table -> VAE -> latents -> transformer -> clips for fresh prompts -> score
#
# Everything lies in FOLDER, the recipes it was made by too. Run it again after a stop: what is done is
# passed over, what was stopped goes on. The transformer is trained in STORY_ROUNDS rounds, each of
# which ends with a score, a line of FOLDER/curve.tsv. With `smoke` everything is tiny: that shows that
# the chain holds and losses go down, not that anything is learnt.
set -euo pipefail

say() { printf 'story: %s\n' "$*" >&2; }
fail() {
  say "$*"
  exit 1
}

(($# == 2)) || [[ ${3:-} == smoke ]] || fail "usage: $0 CURATE FOLDER [smoke]"
curate=$(realpath "$1")
folder=$2
recipes=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../../examples/story")
if [[ ${3:-} == smoke ]]; then
  count=24 prompts=4 rounds=1 own=$recipes/smoke
else
  count=${STORY_CLIPS:-2000} prompts=${STORY_PROMPTS:-64} rounds=${STORY_ROUNDS:-3} own=$recipes
fi

mkdir -p "$folder"
cp "$recipes/pipeline.toml" "$own/vae.toml" "$own/dit.toml" "$folder"
cd "$folder"
touch times.tsv

# Runs a step and adds the seconds it took to times.tsv, also when it is stopped.
step() { # NAME RESULT COMMAND...
  local name=$1 result=$2 began=$SECONDS status=0
  shift 2
  say "$name: curate $*"
  "$curate" "$@" || status=$?
  printf '%s\t%d\n' "$name" "$((SECONDS - began))" >>times.tsv
  ((status == 0)) || fail "$name ended with $status; run this again to go on"
  [[ -e $result ]] || fail "$name left no $folder/$result"
  say "$name: done in $((SECONDS - began)) s"
}

# As `step`, for what would begin anew: not where its result is there.
once() { # NAME RESULT COMMAND...
  if [[ -e $2 ]]; then say "$1: $2 is there"; else step "$@"; fi
}

# Seconds in steps of this name, over all attempts.
spent() { awk -F'\t' -v name="$1" '$1 == name { sum += $2 } END { print sum + 0 }' times.tsv; }

# Fails unless a run's loss is lower in its last fifth than in its first.
went_down() { # NAME METRICS
  local first last
  read -r first last < <(sed -nE 's/.*"loss":([-+0-9.eE]+).*/\1/p' "$2" | awk '
    { loss[NR] = $1 }
    END {
      fifth = int(NR / 5); if (fifth < 1) fifth = 1
      for (i = 1; i <= fifth; i++) { first += loss[i]; last += loss[NR + 1 - i] }
      print first / fifth, last / fifth
    }')
  say "$1: the loss went from $first to $last"
  awk -v first="$first" -v last="$last" 'BEGIN { exit !(last < first) }' ||
    fail "$1: the loss did not go down, see $folder/$2"
}

# The share of a line of the score, in percent.
share() { sed -nE "s/^$1 .*right: +([0-9.]+) %.*/\1/p" "$2"; }

once shapes shapes/manifest.jsonl synth shapes shapes --count "$count" --seed 1
step table table/clips.lance run pipeline.toml
once vae vae/vae.safetensors train vae vae.toml
went_down vae vae/metrics.jsonl
step encode table/clips.lance encode table dit.toml --vae vae/vae.safetensors --text minilm-l6-v2
# By a fresh seed: nobody knew them when the recipes were written.
once prompts prompts.jsonl synth prompts prompts.jsonl --count "$prompts" --seed random

steps=$(sed -nE '0,/^steps = /s/^steps = ([0-9]+).*/\1/p' dit.toml)
[[ -n $steps ]] || fail "dit.toml says no \`steps\`"
for ((round = 1; round <= rounds; round++)); do
  until=$((steps * round / rounds))
  made=generated/$until
  if [[ -e $made/score.txt ]]; then
    say "score after $until steps is there"
    continue
  fi
  # Steps may be raised when a run goes on.
  sed "0,/^steps = /s/^steps = .*/steps = $until/" dit.toml >"dit_$until.toml"
  step dit dit/model train dit "dit_$until.toml"
  went_down dit dit/metrics.jsonl
  step generate "$made/0000.mp4" \
    generate --model dit/model --prompts prompts.jsonl --batch 8 -o "$made"
  say "score: $made"
  "$curate" synth score "$made" --prompts prompts.jsonl --json >"$made/score.json"
  "$curate" synth score "$made" --prompts prompts.jsonl --sheet "$made/sheet.jpg" |
    tee "$made/score.begun"
  [[ -e curve.tsv ]] || printf 'dit_steps\tvae_s\tdit_s\tdirection_%%\tcolour_%%\tboth_%%\tprompts\n' >curve.tsv
  printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$until" "$(spent vae)" "$(spent dit)" \
    "$(share direction "$made/score.begun")" "$(share colour "$made/score.begun")" \
    "$(share both "$made/score.begun")" "$prompts" >>curve.tsv
  mv "$made/score.begun" "$made/score.txt"
done

total=$(awk -F'\t' '{ sum += $2 } END { print sum + 0 }' times.tsv)
say "all of it took $total s:"
awk -F'\t' '{ sum[$1] += $2; if (!seen[$1]++) order[++n] = $1 }
  END { for (i = 1; i <= n; i++) printf "story:   %-10s %5d s\n", order[i], sum[order[i]] }' times.tsv >&2
cat curve.tsv
say "the clips and their prompts: $folder/generated/$steps/sheet.jpg, right ones in green"
say "the curve: $folder/curve.tsv; losses: $folder/vae/metrics.jsonl, $folder/dit/metrics.jsonl"
