#!/usr/bin/env python3
"""Times the Slice VAE against the same network in PyTorch, on the same threads, in turns.

    pip install torch safetensors numpy
    benches/vae_torch.py PROGRAM FIXTURES [--threads 2] [--rounds 3] [--frames 8] [--side 64]
                                          [--real]

PROGRAM is the example `vae_speed` of `curate-models`, FIXTURES the folder with `slice_vae.*`. The
network here is written from the recipe alone, so that it is a second opinion: before anything is
timed it must give the fixtures' moments, frames and loss. `--real` times the released widths with
random weights in place of the fixtures' small ones. Prints, for encoding, decoding and a training
step, the least seconds of each and their ratio (above 1: PyTorch is slower).
"""

import argparse
import json
import os
import pathlib
import subprocess
import tempfile
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file


class Vae:
    """Encoder and decoder in slices of 8 frames, over tensors by their published names."""

    def __init__(self, weights, config):
        self.w, self.config = weights, config
        self.blocks = len(config["ch_mult"])
        self.layers = config["layers_per_block"]
        self.groups = config["norm_num_groups"]

    def conv(self, x, name, stride=(1, 1, 1), spatial=1):
        """Zeros around a slice in time: one frame at both ends of a kernel of three."""
        weight = self.w[name + ".weight"]
        if weight.shape[2] == 1:
            return F.conv3d(x, weight, self.w[name + ".bias"])
        padding = (1, spatial, spatial)
        return F.conv3d(x, weight, self.w[name + ".bias"], stride, padding)

    def norm(self, x, name):
        return F.group_norm(x, self.groups, self.w[name + ".weight"], self.w[name + ".bias"], 1e-6)

    def residual(self, x, name):
        y = self.conv(F.silu(self.norm(x, name + ".norm1")), name + ".conv1")
        y = self.conv(F.silu(self.norm(y, name + ".norm2")), name + ".conv2")
        if name + ".shortcut.weight" in self.w:
            x = self.conv(x, name + ".shortcut")
        return x + y

    def attention(self, x, name):
        y = self.norm(x, name + ".group_norm").flatten(2).transpose(1, 2)
        linear = lambda y, part: F.linear(y, self.w[f"{name}.{part}.weight"], self.w[f"{name}.{part}.bias"])
        q, k, v = (linear(y, part) for part in ("to_q", "to_k", "to_v"))
        y = linear(F.scaled_dot_product_attention(q, k, v), "to_out")
        return x + y.transpose(1, 2).reshape(x.shape)

    def middle(self, x, name):
        x = self.residual(x, name + ".convs.0")
        for index in range(1, self.layers):
            x = self.attention(x, f"{name}.attentions.{index - 1}")
            x = self.residual(x, f"{name}.convs.{index}")
        return x

    def encode_slice(self, x):
        x = self.conv(x, "encoder.conv_in")
        for block in range(self.blocks):
            name = f"encoder.down_blocks.{block}"
            for layer in range(self.layers):
                x = self.residual(x, f"{name}.convs.{layer}")
            if block + 1 < self.blocks:
                frames = 1 if self.config["down_block_types"][block].startswith("SpatialDown") else 2
                x = F.pad(x, (0, 1, 0, 1))
                x = self.conv(x, name + ".downsampler.conv", (frames, 2, 2), 0)
        x = F.silu(self.norm(self.middle(x, "encoder.mid_block"), "encoder.conv_norm_out"))
        return self.conv(self.conv(x, "encoder.conv_out"), "quant_conv")

    def decode_slice(self, z, before, count, is_image):
        x = self.conv(self.conv(z, "post_quant_conv"), "decoder.conv_in")
        x = self.middle(x, "decoder.mid_block")[:, :, before : before + count]
        for block in range(self.blocks):
            name = f"decoder.up_blocks.{block}"
            for layer in range(self.layers + 1):
                x = self.residual(x, f"{name}.convs.{layer}")
            if block + 1 < self.blocks:
                x = F.interpolate(x, scale_factor=(1, 2, 2), mode="nearest")
                x = self.conv(x, name + ".upsampler.conv")
                if self.config["up_block_types"][block].startswith("SpatialTemporal") and not is_image:
                    x = F.interpolate(x, scale_factor=(2, 1, 1), mode="trilinear")
        return self.conv(F.silu(self.norm(x, "decoder.conv_norm_out")), "decoder.conv_out")

    def encode(self, x):
        first = x.shape[2] % 2
        parts = [self.encode_slice(x[:, :, :1])] if first else []
        parts += [self.encode_slice(x[:, :, at : at + 8]) for at in range(first, x.shape[2], 8)]
        return torch.cat(parts, 2)

    def decode(self, z):
        first = z.shape[2] % 2
        parts = [self.decode_slice(z[:, :, :1], 0, 1, True)] if first else []
        for at in range(first, z.shape[2], 2):
            start = at - 2 if at > first else at
            parts.append(self.decode_slice(z[:, :, start : at + 4], at - start, 2, False))
        return torch.cat(parts, 2)

    def loss(self, x, noise, weight):
        mean, log_variance = self.encode(x).chunk(2, 1)
        log_variance = log_variance.clamp(-30, 20)
        y = self.decode(mean + torch.exp(0.5 * log_variance) * noise)
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum() / x.shape[0]
        return (y - x).abs().mean() + weight * divergence


def check(vae, fixtures):
    """The largest differences from the released code's results."""
    io = load_file(fixtures / "slice_vae.io.safetensors")
    with torch.no_grad():
        for frames in (1, 8, 9, 16, 25):
            found = vae.encode(io[f"encode.T{frames}.x"]) - io[f"encode.T{frames}.moments"]
            report(f"encode T={frames}", found.abs().max())
        for latents in (1, 2, 3, 4, 7):
            found = vae.decode(io[f"decode.F{latents}.z"]) - io[f"decode.F{latents}.y"]
            report(f"decode F={latents}", found.abs().max())
        grad = load_file(fixtures / "slice_vae.grad.safetensors")
        report("loss", (vae.loss(grad["x"], grad["posterior_noise"], 1e-3) - grad["loss"]).abs().max())


def report(name, difference):
    print(f"{name:12} differs by {difference:.1e}")
    assert difference < 2e-4, name


def real(fixtures):
    """The released widths with random weights: the fixtures' names, with each width as it should be."""
    config = json.loads((fixtures / "slice_vae.config.json").read_text())
    config |= {"ch": 128, "ch_mult": [1, 2, 4, 4]}
    wide = [128 * multiple for multiple in config["ch_mult"]]
    weights = {}

    def add(name, outs, ins, kernel):
        scale = (ins * kernel**3) ** -0.5
        shape = (outs, ins) + ((kernel,) * 3 if kernel else ())
        weights[name + ".weight"] = torch.randn(shape) * (scale if kernel else ins**-0.5)
        weights[name + ".bias"] = torch.zeros(outs)

    def norm(name, width):
        weights[name + ".weight"], weights[name + ".bias"] = torch.ones(width), torch.zeros(width)

    def residual(name, ins, outs):
        norm(name + ".norm1", ins), add(name + ".conv1", outs, ins, 3)
        norm(name + ".norm2", outs), add(name + ".conv2", outs, outs, 3)
        if ins != outs:
            add(name + ".shortcut", outs, ins, 1)

    def side(name, blocks, widths, sampler, layers):
        ins = widths[0]
        for index, outs in enumerate(widths):
            for layer in range(layers):
                residual(f"{name}.{blocks}.{index}.convs.{layer}", ins, outs)
                ins = outs
            if index + 1 < len(widths):
                add(f"{name}.{blocks}.{index}.{sampler}.conv", outs, outs, 3)
        norm(name + ".conv_norm_out", ins)
        for layer in range(2):
            residual(f"{name}.mid_block.convs.{layer}", 512, 512)
        norm(name + ".mid_block.attentions.0.group_norm", 512)
        for part in ("to_q", "to_k", "to_v", "to_out"):
            add(f"{name}.mid_block.attentions.0.{part}", 512, 512, 0)

    side("encoder", "down_blocks", wide, "downsampler", 2)
    side("decoder", "up_blocks", wide[::-1], "upsampler", 3)
    add("encoder.conv_in", 128, 3, 3), add("encoder.conv_out", 8, 512, 3)
    add("decoder.conv_in", 512, 4, 3), add("decoder.conv_out", 3, 128, 3)
    add("quant_conv", 8, 8, 1), add("post_quant_conv", 4, 4, 1)
    return weights, config


def timed(run):
    """Seconds on the wall, and the processor's, which a busy machine disturbs less."""
    run()
    start, used = time.perf_counter(), time.process_time()
    run()
    return [time.perf_counter() - start, time.process_time() - used]


def ours(program, folder, frames, side, threads):
    environment = os.environ | {"RAYON_NUM_THREADS": str(threads), "CANDLE_NUM_THREADS": str(threads)}
    command = [program, folder, str(frames), str(side)]
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("fixtures", type=pathlib.Path)
    for name, usual in [("threads", 2), ("rounds", 3), ("frames", 8), ("side", 64)]:
        parser.add_argument("--" + name, type=int, default=usual)
    parser.add_argument("--real", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    weights = load_file(args.fixtures / "slice_vae.weights.safetensors")
    config = json.loads((args.fixtures / "slice_vae.config.json").read_text())
    check(Vae(weights, config), args.fixtures)
    if args.real:
        weights, config = real(args.fixtures)
    with tempfile.TemporaryDirectory() as folder:
        save_file(weights, pathlib.Path(folder) / "slice_vae.weights.safetensors")
        (pathlib.Path(folder) / "slice_vae.config.json").write_text(json.dumps(config))
        for tensor in weights.values():
            tensor.requires_grad_(True)
        vae = Vae(weights, config)
        x = torch.randn(1, 3, args.frames, args.side, args.side)
        latents = args.frames // 8 * 2 + args.frames % 2
        z = torch.randn(1, 4, latents, args.side // 8, args.side // 8)
        theirs = {
            "encode": torch.no_grad()(lambda: vae.encode(x)),
            "decode": torch.no_grad()(lambda: vae.decode(z)),
            "step": lambda: vae.loss(x, z, 1e-6).backward(),
        }
        infinite = [float("inf")] * 2
        best = {name: [infinite, infinite] for name in theirs}
        least = lambda a, b: [min(pair) for pair in zip(a, b)]
        for _ in range(args.rounds):
            found = ours(args.program, folder, args.frames, args.side, args.threads)
            for name, run in theirs.items():
                best[name] = [least(best[name][0], timed(run)), least(best[name][1], found[name])]
    for name, both in best.items():
        for kind, torch_, here in zip(("wall", "processor"), *both):
            ratio = torch_ / max(here, 0.01)
            print(f"{name:7} {kind:9} PyTorch {torch_:.2f} s, here {here:.2f} s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
