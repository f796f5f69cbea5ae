#!/usr/bin/env bash
# Runs a command, by default a build and check of the CUDA operations, with what a CUDA build needs:
# no system toolkit and no GPU. Put `--features cuda,cudnn` on the cargo command:
#
#   models/ops/cuda.sh cargo build --release --features cuda,cudnn
#
# It fetches NVIDIA's compiler from Python wheels (105 MB) into CUDA_TOOLKIT (by default
# ~/.cache/curate/cuda-13.0), generates libraries that satisfy the linker from cudarc's own
# declarations, and sets CUDA_HOME, CUDA_COMPUTE_CAP (90, Hopper, unless set) and CUDA_STUBS, from
# which build.rs tells the linker. The first build compiles candle's kernels, which takes 8 minutes
# on two cores; after that only what changed.
#
# The version is 13.0 and no other: candle hands PTX to the driver, and a driver reads no PTX that is
# newer than itself. The binary needs libcuda.so.1 of the driver, and cuBLAS, cuRAND, cuDNN 9 and the
# CUDA runtime of version 13 in LD_LIBRARY_PATH, for instance from the nvidia-* wheels:
#
#   export LD_LIBRARY_PATH=$(python3 -c 'import glob, nvidia
#   print(":".join(glob.glob(list(nvidia.__path__)[0] + "/*/lib")))')
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
toolkit=${CUDA_TOOLKIT:-$HOME/.cache/curate/cuda-13.0}
root=$toolkit/nvidia/cu13

if [ ! -x "$root/bin/nvcc" ]; then
    wheels=$(mktemp -d)
    trap 'rm -rf "$wheels"' EXIT
    # Downloaded and unpacked by hand: an installer would put them into some Python.
    python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$wheels" \
        nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 \
        nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85
    mkdir -p "$toolkit"
    for wheel in "$wheels"/*.whl; do
        python3 -m zipfile -e "$wheel" "$toolkit"
    done
    # Wheels keep no permissions when unpacked this way.
    chmod -R u+x "$root/bin" "$root/nvvm/bin"
    rm -r "$wheels"
    trap - EXIT
fi
ln -sfn lib "$root/lib64"
ln -sf libcudart.so.13 "$root/lib/libcudart.so"

export CUDA_HOME=$root PATH=$root/bin:$PATH
export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90}

# The version of cudarc, and where cargo keeps its sources. It is in the graph only with `cuda`.
manifest=$here/Cargo.toml
# Of this machine's platform, or every other one's crates would be fetched.
host=$(rustc -vV | sed -n 's/^host: //p')
found=$(cargo metadata --format-version 1 --filter-platform "$host" --manifest-path "$manifest" \
    --features cuda |
    python3 -c 'import json, os, sys
found = [p for p in json.load(sys.stdin)["packages"] if p["name"] == "cudarc"]
print(found[0]["version"], os.path.join(os.path.dirname(found[0]["manifest_path"]), "src"))')
cudarc=${found#* }

# Another version declares other functions.
stubs=$toolkit/stubs-${found%% *}
mkdir -p "$stubs"
# stub NAME SONAME PREFIX FOLDER: a library that has every function of cudarc's declarations.
stub() {
    [ -s "$stubs/lib$1.so" ] && return
    grep -rhoE "fn $3[A-Za-z0-9_]*" "$cudarc/$4" | awk '{print $2}' | sort -u |
        sed 's/.*/int &(void) { return 999; }/' >"$stubs/$1.c"
    # Under another name first: what is there is whole.
    "${CC:-cc}" -shared -fPIC -w -Wl,-soname,"$2" -o "$stubs/lib$1.so.part" "$stubs/$1.c"
    mv "$stubs/lib$1.so.part" "$stubs/lib$1.so"
}
stub cuda libcuda.so.1 cu driver/sys
stub cublas libcublas.so.13 cublas cublas/sys
stub cublasLt libcublasLt.so.13 cublasLt cublaslt/sys
stub curand libcurand.so.10 curand curand/sys
stub nvrtc libnvrtc.so.13 nvrtc nvrtc/sys
stub cudnn libcudnn.so.9 cudnn cudnn/sys
stub nccl libnccl.so.2 nccl nccl/sys
export CUDA_STUBS=$stubs

if [ $# -gt 0 ]; then
    exec "$@"
fi
cargo build --release --manifest-path "$manifest" --features cuda,cudnn --example cuda_check
target=$(cargo metadata --format-version 1 --no-deps --manifest-path "$manifest" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
binary=$target/release/examples/cuda_check
echo "$binary is linked with:"
readelf -d "$binary" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/  \1/p'
