"""Runs llama.cpp's own server on a port of this machine, until it is stopped.

    python serve.py PORT MODEL.gguf NAME [EYES.gguf]
"""

import sys
import time

import xllamacpp


def main(port: str, model: str, name: str, eyes: str = "") -> None:
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {name}
    params.hostnames = ["127.0.0.1"]
    params.port = int(port)
    params.n_ctx = 8192
    params.n_parallel = 4
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.warmup = False
    if eyes:
        params.mmproj.path = eyes
    server = xllamacpp.Server(params)
    print(f"llama.cpp serves {name} at {server.listening_address}", flush=True)
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main(*sys.argv[1:])
