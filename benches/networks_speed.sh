#!/usr/bin/env bash
# The networks that are trained against PyTorch, on the same CPU threads, and what takes the time here.
#
#   benches/networks_speed.sh EXAMPLES FIXTURES
#
# EXAMPLES is the folder of the programs `vae_speed` and `dit_speed`, FIXTURES that of the reference tensors.
# TORCH_PYTHON (python3) must have torch, safetensors and numpy; THREADS (2) is for both sides. The two scripts
# check first that both sides compute the same, then take turns, so that what else the machine does meets both;
# ratios above 1 mean that PyTorch is slower. The profile needs `perf` (Debian's linux-perf) and is left out
# without it.
set -euo pipefail

(($# == 2)) || { echo "usage: $0 EXAMPLES FIXTURES" >&2; exit 2; }
here=$(dirname "${BASH_SOURCE[0]}")
examples=$1 fixtures=$2 threads=${THREADS:-2} python=${TORCH_PYTHON:-python3}

"$python" -c 'import torch, safetensors' 2>/dev/null || {
  echo "$python has no torch or safetensors: pip install torch safetensors numpy, or name one with TORCH_PYTHON" >&2
  exit 2
}

printf '== Slice VAE, the fixtures'"'"' small widths: encode, decode, one training step\n'
"$python" "$here/vae_torch.py" "$examples/vae_speed" "$fixtures" --threads "$threads"
printf '\n== transformer, preset s: forward, one training step\n'
"$python" "$here/dit_speed.py" "$examples/dit_speed" --preset s --threads "$threads"

command -v perf >/dev/null || { printf '\nno perf, no profile\n'; exit 0; }
record=$(mktemp) weights=$(mktemp)
trap 'rm -f "$record" "$weights"' EXIT
printf '\n== where a training step of the transformer spends its time\n'
{ for _ in 1 2 3 4 5 6; do echo step; done; } |
  RAYON_NUM_THREADS=$threads CANDLE_NUM_THREADS=1 perf record -q -F 199 -o "$record" -- \
    "$examples/dit_speed" s 4 32 32 1 "$weights" >/dev/null
perf report -i "$record" --stdio --percent-limit 2 2>/dev/null | grep -v '^#' | grep -v '^$'
