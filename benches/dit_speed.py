#!/usr/bin/env python3
"""The diffusion transformer here against PyTorch, on the same weights, inputs and threads.

    benches/dit_speed.py PROGRAM [--preset s] [--frames 4] [--size 32] [--batch 1] [--threads 2]

PROGRAM is the example `dit_speed` of `curate-models`. It writes weights, inputs and output; this script builds the
same network from the published tensor names with torch, compares outputs and the losses of some
training steps, then times a forward and a training step of each in turn, so that what else the
machine does meets both. It prints medians and ratios. torch is for comparisons only and installed
by no make target. `--fixtures FOLDER` checks this network against the reference tensors as well.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import tempfile
import time

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file


def waves(x, count, base=10000.0):
    """Angles of `x` at `count` rates: [len(x), count]."""
    rates = base ** (-torch.arange(count, dtype=torch.float64) / count)
    return x.double()[:, None] * rates[None]


class Net:
    """EasyAnimate V3's transformer as functions of a dictionary of tensors."""

    def __init__(self, config, weights):
        self.c, self.w = config, weights

    def linear(self, name, x):
        return F.linear(x, self.w[f"{name}.weight"], self.w.get(f"{name}.bias"))

    def attention(self, name, x, y, heads, mask=None):
        def split(t):
            return t.view(t.shape[0], t.shape[1], heads, -1).transpose(1, 2)

        q, k, v = (split(self.linear(f"{name}.to_{n}", t)) for n, t in (("q", x), ("k", y), ("v", y)))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.linear(f"{name}.to_out.0", out.transpose(1, 2).flatten(2))

    def two(self, name, x, act, parts=("linear_1", "linear_2")):
        return self.linear(f"{name}.{parts[1]}", act(self.linear(f"{name}.{parts[0]}", x)))

    def norm(self, name, x):
        return F.layer_norm(x, x.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"], 1e-5)

    def motion(self, name, x, frames, layer):
        kwargs = self.c["motion_module_kwargs_odd" if layer % 2 else "motion_module_kwargs_even"]
        name += ".attn_temporal.temporal_transformer"
        b, tokens, d = x.shape
        n = tokens // frames
        h = x.reshape(b * frames, n, d).transpose(1, 2)
        h = F.group_norm(h, 32, self.w[f"{name}.norm.weight"], self.w[f"{name}.norm.bias"], 1e-6)
        h = self.linear(f"{name}.proj_in", h.transpose(1, 2)).reshape(b, tokens, d)
        angles = waves(torch.arange(frames), d // 2)
        when = torch.stack([angles.sin(), angles.cos()], -1).flatten(1).float()
        block = f"{name}.transformer_blocks.0"
        for i, kind in enumerate(kwargs["attention_block_types"]):
            y = self.norm(f"{block}.norms.{i}", h).view(b, frames, n, d) + when[None, :, None]
            if kind == "Temporal_Self":
                y = y.transpose(1, 2).reshape(b * n, frames, d)
            else:
                y = y.reshape(b, tokens, d)
            y = self.attention(f"{block}.attention_blocks.{i}", y, y, kwargs["num_attention_heads"])
            if kind == "Temporal_Self":
                y = y.view(b, n, frames, d).transpose(1, 2).reshape(b, tokens, d)
            h = h + y
        value, gate = self.linear(f"{block}.ff.net.0.proj", self.norm(f"{block}.ff_norm", h)).chunk(2, -1)
        h = h + self.linear(f"{block}.ff.net.2", value * F.gelu(gate))
        return x + self.linear(f"{name}.proj_out", h)

    def block(self, layer, x, t6, context, mask, frames):
        name = f"transformer_blocks.{layer}"
        d, heads = x.shape[-1], self.c["num_attention_heads"]
        s1, c1, g1, s2, c2, g2 = (self.w[f"{name}.scale_shift_table"][None] + t6).chunk(6, 1)
        u = (F.layer_norm(x, (d,), eps=1e-6) * (1 + c1) + s1).reshape(x.shape[0] * frames, -1, d)
        x = x + g1 * self.attention(f"{name}.attn1", u, u, heads).reshape(x.shape)
        if self.c["basic_block_type"] != "basic":
            x = self.motion(name, x, frames, layer)
        x = x + self.attention(f"{name}.attn2", x, context, heads, mask)
        u = F.layer_norm(x, (d,), eps=1e-6) * (1 + c2) + s2
        tanh = lambda t: F.gelu(t, approximate="tanh")
        return x + g2 * self.two(f"{name}.ff", u, tanh, ("net.0.proj", "net.2"))

    def places(self, rows, columns, d):
        base, scale = self.c["sample_size"] / self.c["patch_size"], max(self.c["sample_size"] // 64, 1)

        def axis(count):
            angles = waves(torch.arange(count) * base / count / scale, d // 4)
            return torch.cat([angles.sin(), angles.cos()], -1).float()

        shape = (rows, columns, d // 2)
        both = axis(columns)[None].expand(shape), axis(rows)[:, None].expand(shape)
        return torch.cat(both, -1).reshape(rows * columns, d)

    def __call__(self, x, inpaint, times, text, text_mask, clip, clip_mask):
        p, tanh = self.c["patch_size"], lambda t: F.gelu(t, approximate="tanh")
        x = torch.cat([x, inpaint], 1)
        b, channels, frames, height, width = x.shape
        x = x.transpose(1, 2).reshape(b * frames, channels, height, width)
        x = F.conv2d(x, self.w["pos_embed.proj.weight"], self.w["pos_embed.proj.bias"], stride=p)
        rows, columns = x.shape[2:]
        x = x.flatten(2).transpose(1, 2)
        d = x.shape[-1]
        x = (x + self.places(rows, columns, d)).reshape(b, -1, d)
        angles = waves(times, 128).float()
        e = torch.cat([angles.cos(), angles.sin()], -1)
        e = self.two("adaln_single.emb.timestep_embedder", e, F.silu)
        t6 = self.linear("adaln_single.linear", F.silu(e)).view(b, 6, d)
        context = self.two("caption_projection", text, tanh)
        image = self.two("clip_projection", clip, tanh).view(b, 8, d)
        context = torch.cat([context, image], 1)
        mask = (1 - torch.cat([text_mask, clip_mask], 1))[:, None, None] * -1e4
        layers, skips = self.c["num_layers"], []
        count = max(layers // 2 - 1, 0) if self.c["enable_uvit"] else 0
        for layer in range(layers):
            if layer >= layers - count:
                x = x + self.linear(f"long_connect_fc.{layer - layers + count}", skips.pop())
            x = self.block(layer, x, t6, context, mask, frames)
            if layer < count:
                skips.append(x)
        shift, scale = (self.w["scale_shift_table"][None] + e[:, None]).chunk(2, 1)
        x = self.linear("proj_out", F.layer_norm(x, (d,), eps=1e-6) * (1 + scale) + shift)
        x = x.view(b, frames, rows, columns, p, p, -1).permute(0, 6, 1, 2, 4, 3, 5)
        return x.reshape(b, -1, frames, height, width)


BETAS = torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)
LEFT = (1 - BETAS).cumprod(0)
BEFORE = torch.cat([torch.ones(1, dtype=torch.float64), LEFT[:-1]])
VARIANCE = BETAS * (1 - BEFORE) / (1 - LEFT)
LOW = torch.cat([VARIANCE[1:2], VARIANCE[1:]]).log()


def loss_of(net, x0, noise, **inputs):
    """Squared error of the noise plus the bound of the variance; times above 0 only."""
    t = inputs["times"].long()
    at = lambda table: table[t].float().view(-1, 1, 1, 1, 1)
    x_t = at(LEFT.sqrt()) * x0 + at((1 - LEFT).sqrt()) * noise
    eps, share = net(x_t, **inputs).chunk(2, 1)
    guess = (x_t - at((1 - LEFT).sqrt()) * eps.detach()) / at(LEFT.sqrt())
    # Both means have the same part of x_t.
    gap = at(BETAS * BEFORE.sqrt() / (1 - LEFT)) * (x0 - guess)
    log_variance = at(LOW) + (share + 1) / 2 * at(BETAS.log() - LOW)
    wide = log_variance - at(LOW)
    kl = 0.5 * (wide - 1 + (-wide).exp() + gap**2 * (-log_variance).exp())
    return ((noise - eps) ** 2).mean() + kl.mean() / math.log(2)


class Ours:
    """The compiled bench, one command at a time."""

    def __init__(self, args, file):
        sizes = [args.frames, args.size, args.size, args.batch]
        words = [args.bench, args.preset, *map(str, sizes), file]
        env = dict(os.environ, RAYON_NUM_THREADS=str(args.threads))
        env.setdefault("CANDLE_NUM_THREADS", str(args.threads))
        pipe = subprocess.PIPE
        self.child = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=env)
        assert self.child.stdout.readline() == "ready\n", "the bench failed"

    def __call__(self, what):
        self.child.stdin.write(f"{what}\n")
        self.child.stdin.flush()
        seconds, loss = self.child.stdout.readline().split()
        return float(seconds), float(loss)


def check_fixtures(folder):
    with open(f"{folder}/transformer3d.config.json") as file:
        net = Net(json.load(file), load_file(f"{folder}/transformer3d.weights.safetensors"))
    io = load_file(f"{folder}/transformer3d.io.safetensors")
    for case in ("img", "vid"):
        names = ("x", "inpaint", "t", "text", "text_mask", "clip", "clip_mask")
        y = net(*(io[f"{case}.{name}"] for name in names))
        print(f"{case}: {(y - io[f'{case}.y']).abs().max():.1e} from the reference")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench", nargs="?")
    parser.add_argument("--preset", default="s")
    parser.add_argument("--fixtures")
    for name, value in (("frames", 4), ("size", 32), ("batch", 1), ("threads", 2), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.fixtures:
        check_fixtures(args.fixtures)
    if not args.bench:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/dit.safetensors"
        ours = Ours(args, path)
        with safe_open(path, "pt") as file:
            config = json.loads(file.metadata()["config"])
        tensors = load_file(path)
    inputs = {k[3:]: tensors.pop(k) for k in list(tensors) if k.startswith("in.")}
    x0, noise, out = inputs.pop("x0"), inputs.pop("noise"), tensors.pop("out")
    net = Net(config, tensors)
    with torch.inference_mode():
        print(f"output: {(net(x0, **inputs) - out).abs().max():.1e} apart, largest {out.abs().max():.2f}")
    for tensor in tensors.values():
        tensor.requires_grad_(True)
    adam = torch.optim.AdamW(tensors.values(), lr=1e-4, eps=1e-10, weight_decay=3e-2)

    def forward():
        with torch.inference_mode():
            net(x0, **inputs)
        return 0.0

    def step():
        loss = loss_of(net, x0, noise, **inputs)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tensors.values(), 1.0)
        adam.step()
        return loss.item()

    tokens = args.batch * args.frames * (args.size // config["patch_size"]) ** 2
    print(f"{args.preset}, {tokens} tokens, {args.threads} threads; seconds, median of {args.rounds}")
    for what, run, other in (("forward", forward, "forward"), ("step", step, "step"), ("step, checkpointed", None, "checkpointed")):
        here, there = [], []
        for index in range(args.rounds + 1):
            seconds, loss = ours(other)
            here.append(seconds)
            if run:
                started = time.monotonic()
                expected = run()
                there.append(time.monotonic() - started)
                assert abs(loss - expected) <= 2e-3 * max(1.0, abs(expected)), (loss, expected)
        base = statistics.median((there or base_of_step)[1:])
        base_of_step = there or base_of_step
        ours_s = statistics.median(here[1:])
        print(f"{what:<20} torch {base:8.3f}  curate {ours_s:8.3f}  curate/torch {ours_s / base:5.2f}")


if __name__ == "__main__":
    main()
