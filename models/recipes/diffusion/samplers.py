"""Writes tests/fixtures/samplers.safetensors: where diffusers 0.28.2 arrives with numbers of steps that
do and do not divide a thousand, for models that predict the noise or v.

    pip install torch safetensors
    pip install diffusers==0.28.2 "huggingface_hub<0.24"
    python samplers.py ../../tests/fixtures/samplers.safetensors

The model is 0.35 x + 0.1 sin(2 x + t / 250), x being the scaled input.
"""

import sys

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from safetensors.torch import save_file

SCHEDULERS = {
    "euler": (EulerDiscreteScheduler, {}),
    "dpm++2m": (DPMSolverMultistepScheduler, {}),
    "pndm": (PNDMScheduler, {"skip_prk_steps": True}),
    "pndm-prk": (PNDMScheduler, {}),
    "ddim": (DDIMScheduler, {"clip_sample": False}),
}
BETAS = dict(beta_start=1e-4, beta_end=0.02, beta_schedule="linear", steps_offset=1)


def main():
    noise = torch.randn(1, 4, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    out = {"noise": noise}
    for steps in (7, 30, 50):
        for prediction in ("epsilon", "v_prediction"):
            for name, (scheduler, options) in SCHEDULERS.items():
                if name.startswith("pndm") and prediction != "epsilon":
                    continue  # Deliberately another way there: see pndm.rs.
                s = scheduler(prediction_type=prediction, **options, **BETAS)
                s.set_timesteps(steps)
                x = noise * s.init_noise_sigma
                for t in s.timesteps:
                    y = s.scale_model_input(x, t)
                    y = 0.35 * y + 0.1 * torch.sin(2 * y + float(t) / 250)
                    x = s.step(y, t, x).prev_sample
                key = f"{name}.{'epsilon' if prediction == 'epsilon' else 'velocity'}.{steps}"
                out[key] = x.contiguous()
                out[f"{key}.times"] = torch.tensor([float(t) for t in s.timesteps]).double()
    save_file(out, sys.argv[1])


if __name__ == "__main__":
    main()
