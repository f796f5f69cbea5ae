"""Trains RAFT-small from scratch on synthetic scenes: train.py TEXTURES OUT (--until HH:MM | --steps N).

RAFT (Teed and Deng 2020, arXiv 2003.12039) as torchvision's `raft_small`, its sequence loss (equation 7,
gamma 0.8), AdamW with a one-cycle rate, gradient norm clipped to 1, and a moving average of the weights (EMA),
which is what is exported. Crops grow and motions lengthen as training goes on (`schedule.py`).

Made for CPUs that others use too:
* `--ranks N` processes of one thread each, gradients averaged by gloo once a step. Two threads in one process
  were 3 to 10 times slower on a busy machine: every operator waits for the slower thread, and spins meanwhile.
* Scenes are drawn in the training process. A pair costs about a tenth of its training step, and a separate
  worker would only take that time from the other core.
* bf16 autocast, except for the correlation volume, the loss and the last part of training: 0.50 s instead of
  0.74 s per step of 4 pairs of 128x192 with AVX-512 BF16. `channels_last` gained nothing.
* With --until the schedule follows the CPU time that training gets and still ends in time (`schedule.py`). A
  stopped process (SIGSTOP on the first one is enough) goes on where it was.

Resumes from OUT/checkpoint.pt. The generator of each batch is seeded by (seed, rank, step), so there is no
random state to save. OUT receives checkpoint.pt, train.log and raft_small.safetensors (EMA, f32).
"""

import argparse
import datetime
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import save_file
from torchvision.models.optical_flow import raft_small

import scenes
from schedule import Clock, rate_at, stage_at

GAMMA = 0.8
EMA_DECAY = 0.998
LOG_EVERY, SAVE_EVERY = 100, 250
VALIDATION_PAIRS, VALIDATION_UPDATES = 24, 12


def build_model():
    """raft_small whose correlation volume is always computed in f32, as RAFT's own mixed precision does."""
    model = raft_small(weights=None)
    build = model.corr_block.build_pyramid

    def build_in_f32(fmap1, fmap2):
        with torch.autocast("cpu", enabled=False):
            return build(fmap1.float(), fmap2.float())

    model.corr_block.build_pyramid = build_in_f32
    return model


def sequence_loss(predictions, flow):
    count = len(predictions)
    return sum(GAMMA ** (count - 1 - k) * (p.float() - flow).abs().mean() for k, p in enumerate(predictions))


def end_point_error(prediction, flow):
    return float((prediction.detach().float() - flow).norm(dim=1).mean())


class Validation:
    """Fixed pairs of textures that training never sees, shared out among the processes."""

    def __init__(self, folder, rank, ranks):
        textures = scenes.Textures(folder, validation=True)
        self.batches = []
        for k in range(rank, VALIDATION_PAIRS, ranks):
            rng = np.random.default_rng([999, k])
            largest = (8, 24, 50)[k % 3]
            self.batches.append([torch.from_numpy(a) for a in scenes.batch(rng, 1, 192, 256, largest, textures)])

    def sum_of_errors(self, model, weights):
        kept = {k: v.clone() for k, v in model.state_dict().items()}
        model.load_state_dict(weights)
        model.eval()
        with torch.no_grad():
            total = sum(end_point_error(model(a, b, num_flow_updates=VALIDATION_UPDATES)[-1], flow)
                        for a, b, flow in self.batches)
        model.load_state_dict(kept)
        model.train()
        return total


def average_gradients(model, extra, ranks):
    """Replaces gradients by their mean over processes; returns the sums of the `extra` numbers."""
    parameters = [p for p in model.parameters() if p.grad is not None]
    flat = torch.cat([p.grad.reshape(-1) for p in parameters] + [torch.tensor(extra, dtype=torch.float32)])
    if ranks > 1:
        dist.all_reduce(flat)
    at = 0
    for p in parameters:
        p.grad.copy_(flat[at:at + p.numel()].view_as(p) / ranks)
        at += p.numel()
    return flat[at:].tolist()


def update_average(average, model, step):
    """EMA that follows quickly at first: decay min(EMA_DECAY, (1 + step) / (10 + step))."""
    decay = min(EMA_DECAY, (1 + step) / (10 + step))
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - decay)
        else:
            average[name].copy_(value)


def replace_file(path, write):
    """Writes beside `path` and renames, so that a kill leaves the old file or the new one."""
    part = path.with_suffix(path.suffix + ".part")
    write(part)
    os.replace(part, path)


def export(average, path):
    tensors = {k: v.float().contiguous() for k, v in average.items() if v.is_floating_point()}
    replace_file(path, lambda part: save_file(tensors, str(part)))


def train(rank, args):
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    if args.ranks > 1:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        # A day: the other process may be stopped for as long as somebody needs the machine.
        dist.init_process_group("gloo", init_method=f"file://{args.meeting}", rank=rank, world_size=args.ranks,
                                timeout=datetime.timedelta(days=1))
    torch.manual_seed(args.seed)
    model = build_model().train()
    optimiser = torch.optim.AdamW(model.parameters(), args.rate, weight_decay=5e-5, eps=1e-8)
    average = {k: v.clone() for k, v in model.state_dict().items()}
    step, progress, cpu_before = 0, 0.0, 0.0
    checkpoint = args.out / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        average, step, progress, cpu_before = saved["average"], saved["step"], saved["progress"], saved["cpu_s"]
    if args.steps:
        progress = step / args.steps
    textures = scenes.Textures(args.textures, validation=False)
    validation = Validation(args.textures, rank, args.ranks)
    if args.ranks > 1:
        dist.barrier()
    clock = Clock(progress, args.steps, args.until)
    log = open(args.out / "train.log", "a") if rank == 0 else None

    def say(line):
        if log:
            print(line, file=log, flush=True)

    say(f"start step {step} progress {progress:.3f} ranks {args.ranks} seed {args.seed} photos {len(textures.photos)}")
    sums, since, skipped = np.zeros(2), time.time(), 0
    while progress < 1:
        stage, rate = stage_at(progress), rate_at(progress, args.rate)
        rng = np.random.default_rng([args.seed, rank, step])
        height, width = stage.sizes[rng.integers(len(stage.sizes))]
        first, second, flow = (torch.from_numpy(a) for a in
                               scenes.batch(rng, stage.pairs, height, width, stage.largest_px, textures))
        with torch.autocast("cpu", torch.bfloat16, enabled=progress < args.f32_from):
            predictions = model(first, second, num_flow_updates=stage.updates)
        loss = sequence_loss(predictions, flow)
        optimiser.zero_grad()
        loss.backward()
        # Progress travels with the gradients, so that all processes switch stage and end at the same step.
        mine = clock.tick(step + 1) if rank == 0 else 0.0
        loss_sum, error_sum, progress, cpu_s = average_gradients(
            model, [float(loss.detach()), end_point_error(predictions[-1], flow), mine, time.process_time()],
            args.ranks)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimiser.param_groups:
            group["lr"] = rate
        if torch.isfinite(norm):
            optimiser.step()
        else:
            skipped += 1
        step += 1
        update_average(average, model, step)
        sums += (loss_sum / args.ranks, error_sum / args.ranks)
        if step % LOG_EVERY == 0:
            speed, cpu_h = LOG_EVERY / (time.time() - since), (cpu_before + cpu_s) / 3600
            say(f"step {step} progress {progress:.3f} rate {rate:.2e} loss {sums[0] / LOG_EVERY:.3f} "
                f"epe {sums[1] / LOG_EVERY:.3f} steps/s {speed:.2f} cpu_h {cpu_h:.2f} skipped {skipped}")
            sums[:], since = 0, time.time()
        if step % SAVE_EVERY == 0 or progress >= 1:
            total = torch.tensor([validation.sum_of_errors(model, average)])
            if args.ranks > 1:
                dist.all_reduce(total)
            say(f"validation step {step} epe {float(total) / VALIDATION_PAIRS:.3f}")
            if rank == 0:
                state = dict(model=model.state_dict(), optimiser=optimiser.state_dict(), average=average, step=step,
                             progress=progress, cpu_s=cpu_before + cpu_s)
                replace_file(checkpoint, lambda part: torch.save(state, part))
                export(average, args.out / "raft_small.safetensors")
    say(f"end step {step}")


def clock_time(text):
    """Seconds since the epoch of the next HH:MM, local time."""
    now = datetime.datetime.now()
    hour, minute = map(int, text.split(":"))
    at = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return (at if at > now else at + datetime.timedelta(days=1)).timestamp()


def main():
    parser = argparse.ArgumentParser(description="Train RAFT-small on synthetic scenes.")
    parser.add_argument("textures", type=Path, help="folder written by textures.py")
    parser.add_argument("out", type=Path)
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--until", type=clock_time, help="local time HH:MM at which the schedule ends")
    length.add_argument("--steps", type=int, help="number of steps (exactly repeatable for one number of ranks)")
    parser.add_argument("--ranks", type=int, default=2, help="processes, one thread each (default 2)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=6e-4, help="largest learning rate (default 6e-4)")
    parser.add_argument("--f32-from", type=float, default=0.95, help="progress from which bf16 is off (default 0.95)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    args.meeting = Path(tempfile.mkdtemp(prefix="meeting.", dir=args.out)).resolve() / "gloo"
    others = [mp.Process(target=train, args=(rank, args), daemon=True) for rank in range(1, args.ranks)]
    for process in others:
        process.start()
    train(0, args)
    for process in others:
        process.join()
    shutil.rmtree(args.meeting.parent)


if __name__ == "__main__":
    mp.set_start_method("spawn")
    main()
