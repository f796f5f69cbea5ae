"""Writes tests/fixtures/peft: adapters that `peft` made and saved for the linear layers of a small
transformer, and what it computes with some of them. With `--check FOLDER` it opens a folder that
`Lora::save` wrote instead, and says whether `peft` finds every tensor a place.

    pip install torch transformers accelerate peft safetensors
    python peft_reference.py ../../tests/fixtures/peft
    python peft_reference.py --check FOLDER
"""

import json
import sys
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import load_peft_weights
from safetensors.torch import save_file
from torch import nn

# As in the Rust test: heads 2 of 16, 4 layers, 24 caption channels, hybrid motion.
WIDTH, LAYERS, CAPTION, CLIP, SINUSOID, OUT = 32, 4, 24, 768, 256, 2 * 2 * 8


def shapes():
    """Inputs and outputs of all linear layers, by their published names."""
    d = WIDTH
    found = {
        "adaln_single.emb.timestep_embedder.linear_1": (SINUSOID, d),
        "adaln_single.emb.timestep_embedder.linear_2": (d, d),
        "adaln_single.linear": (d, 6 * d),
        "caption_projection.linear_1": (CAPTION, d),
        "caption_projection.linear_2": (d, d),
        "clip_projection.linear_1": (CLIP, 8 * d),
        "clip_projection.linear_2": (8 * d, 8 * d),
        "long_connect_fc.0": (d, d),
        "proj_out": (d, OUT),
    }
    attention = ["to_q", "to_k", "to_v", "to_out.0"]
    for layer in range(LAYERS):
        block = f"transformer_blocks.{layer}"
        temporal = f"{block}.attn_temporal.temporal_transformer"
        inner = f"{temporal}.transformer_blocks.0"
        wheres = [f"{block}.attn1", f"{block}.attn2"]
        wheres += [f"{inner}.attention_blocks.{index}" for index in range(2)]
        found |= {f"{where}.{name}": (d, d) for where in wheres for name in attention}
        found |= {f"{block}.ff.net.0.proj": (d, 4 * d), f"{block}.ff.net.2": (4 * d, d)}
        found |= {f"{inner}.ff.net.0.proj": (d, 8 * d), f"{inner}.ff.net.2": (4 * d, d)}
        found |= {f"{temporal}.{name}": (d, d) for name in ("proj_in", "proj_out")}
    return found


def network():
    """Modules of these names; how they are wired does not matter to adapters."""
    root = nn.Module()
    for name, (ins, outs) in shapes().items():
        *path, last = name.split(".")
        module = root
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, nn.Module())
            module = getattr(module, part)
        module.add_module(last, nn.Linear(ins, outs))
    return root


def write(folder):
    torch.manual_seed(0)
    config = LoraConfig(
        r=2,
        lora_alpha=3,
        lora_dropout=0.1,
        # `proj_out` the head's and not that of the motion modules, so a regular expression.
        target_modules=r"transformer_blocks\.[01]\.(attn1|ff|attn_temporal)\..*(to_q|to_out\.0|net\.2)"
        r"|long_connect_fc\.0|proj_out",
        rank_pattern={r"^long_connect_fc\.0": 3},
        alpha_pattern={r"attn1\.to_q": 5},
        init_lora_weights=False,
    )
    model = get_peft_model(network(), config).eval()
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    # A Python class of this script says nothing to others.
    path = folder / "adapter_config.json"
    saved = json.loads(path.read_text()) | {"auto_mapping": None}
    path.write_text(json.dumps(saved, indent=1, sort_keys=True) + "\n")

    values = {}
    modules = dict(model.base_model.model.named_modules())
    for name in ("transformer_blocks.0.attn1.to_q", "transformer_blocks.1.ff.net.2", "long_connect_fc.0", "proj_out"):
        layer = modules[name]
        x = torch.randn(2, 3, layer.in_features)
        values[f"{name}.x"] = x
        values[f"{name}.change"] = layer(x) - layer.base_layer(x)
        values[f"{name}.delta"] = layer.get_delta_weight("default")
    save_file({name: value.contiguous() for name, value in values.items()}, folder / "io.safetensors")
    (folder / "layers.json").write_text(json.dumps(shapes(), indent=0, sort_keys=True) + "\n")


def check(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Missing or unexpected keys are warnings.
        model = PeftModel.from_pretrained(network(), folder)
    saved = load_peft_weights(folder)
    own = model.state_dict()
    count = 0
    for name, tensor in saved.items():
        name = name.replace(".weight", ".default.weight")
        if not torch.equal(own[name], tensor):
            raise SystemExit(f"{name} is not what was saved")
        count += 1
    adapted = sum("lora_" in name for name in own)
    print(f"{count} tensors, {adapted} places")
    if count != adapted:
        raise SystemExit("some adapters of peft's model got no tensor")


with torch.inference_mode():
    if sys.argv[1] == "--check":
        check(sys.argv[2])
    else:
        write(Path(sys.argv[1]))
