#!/usr/bin/env python3
"""Checks what Postil wrote of an adapter for other tools against PEFT's own merge.

    python tests/peft/check_exports.py MODEL_DIR FOLDER

FOLDER holds `adapter/` (PEFT's), `adapter.gguf`, `mlx/`, `merged/`, and `sequences.json` with the ids to compare logits
on. Prints one JSON line; exit status 1 when a module's product or the merged model's logits differ.

- GGUF is read by llama.cpp's package; the product of a module is alpha/r·B·A, rows as that architecture has them.
- mlx-lm computes scale·(x·lora_a)·lora_b for the modules in `keys` of the last `num_layers` layers.
- The merged model is loaded by transformers; its weights are those of PEFT's merge, rounded once to their type.
"""

import json
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from peft import PeftModel
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM

MODEL, FOLDER = Path(sys.argv[1]), Path(sys.argv[2])
ARCH = {"mistral": "llama", "gemma3_text": "gemma3"}
PRODUCT = 1e-6  # f32 products of r terms
# f32: other orders of additions. 16 bits: a weight is half a unit off, of 11 and 8 bits; logits are sums of many.
LOGITS = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def fail(message):
    print(f"check_exports: {FOLDER}: {message}", file=sys.stderr)
    sys.exit(1)


def close(what, found, wanted):
    if found.shape != wanted.shape:
        fail(f"{what}: {found.shape}, should be {wanted.shape}")
    difference = np.linalg.norm(found - wanted) / max(np.linalg.norm(wanted), 1e-30)
    if not difference <= PRODUCT:
        fail(f"{what}: {difference:.2e} of its norm away")


def check_gguf(config, deltas):
    reader = gguf.GGUFReader(FOLDER / "adapter.gguf")
    value = lambda key: reader.fields[key].contents()
    model_type = config.model_type
    name = ARCH.get(model_type, model_type)
    found = [value("general.architecture"), value("general.type"), value("adapter.type")]
    if found != [name, "adapter", "lora"]:
        fail(f"adapter.gguf says {found}")
    arch = next(arch for arch, known in gguf.MODEL_ARCH_NAMES.items() if known == name)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    if len(tensors) != 2 * len(deltas):
        fail(f"adapter.gguf has {len(tensors)} tensors for {len(deltas)} modules")
    for module, delta in deltas.items():
        a, b = (tensors[f"{names.get_name(module)}.weight.lora_{half}"].data for half in "ab")
        product = value("adapter.lora.alpha") / a.shape[0] * b.astype(np.float64) @ a.astype(np.float64)
        heads = {"q_proj": config.num_attention_heads, "k_proj": getattr(config, "num_key_value_heads", 0)}
        heads = heads.get(module.rsplit(".", 1)[1], 0) if name in ("llama", "smollm3") else 0
        if heads:  # what LlamaModel.permute of the converter does to the weight
            rows = delta.shape[0] // heads
            delta = delta.reshape(heads, 2, rows // 2, -1).swapaxes(1, 2).reshape(delta.shape)
        close(f"adapter.gguf {module}", product, delta)


def check_mlx(config, deltas):
    settings = json.loads((FOLDER / "mlx/adapter_config.json").read_text())
    tensors = load_file(FOLDER / "mlx/adapters.safetensors")
    lora = settings["lora_parameters"]
    if settings["fine_tune_type"] != "lora" or len(tensors) != 2 * len(deltas):
        fail(f"mlx: {settings['fine_tune_type']}, {len(tensors)} tensors for {len(deltas)} modules")
    rng = np.random.default_rng(5)
    for module, delta in deltas.items():
        _, layers, layer, path = module.split(".", 3)
        if path not in lora["keys"] or int(layer) < config.num_hidden_layers - settings["num_layers"]:
            fail(f"mlx: {module} is not among the adapted modules")
        a, b = (tensors[f"model.{layers}.{layer}.{path}.lora_{half}"].astype(np.float64) for half in "ab")
        if a.shape[1] != lora["rank"] or b.shape[0] != lora["rank"]:
            fail(f"mlx: {module} is not of rank {lora['rank']}")
        x = rng.normal(size=(3, a.shape[0]))
        close(f"mlx {module}", lora["scale"] * (x @ a) @ b, x @ delta.T)


def load(folder):
    kinds = dict(dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    model, info = AutoModelForCausalLM.from_pretrained(folder, **kinds)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info.get(kind):
            fail(f"{folder} has {kind}: {sorted(info[kind])}")
    return model.eval()


@torch.no_grad()
def main():
    adapted = PeftModel.from_pretrained(load(MODEL), FOLDER / "adapter").eval()
    layers = {name: layer for name, layer in adapted.base_model.model.named_modules() if hasattr(layer, "get_delta_weight")}
    deltas = {}
    for name, layer in layers.items():
        delta = layer.get_delta_weight("default").double().numpy()
        deltas[name] = delta.T if layer.fan_in_fan_out else delta
    config = adapted.base_model.model.config
    check_gguf(config, deltas)
    check_mlx(config, deltas)

    merged = load(FOLDER / "merged")
    stored = AutoModelForCausalLM.from_pretrained(FOLDER / "merged", dtype="auto").dtype
    worst = 0.0
    for ids in json.loads((FOLDER / "sequences.json").read_text())["sequences"]:
        found, wanted = (model(input_ids=torch.tensor([ids]), use_cache=False).logits for model in (merged, adapted))
        worst = max(worst, ((found - wanted).norm() / wanted.norm()).item())
    if not worst <= LOGITS[stored]:
        fail(f"the merged model's logits are {worst:.2e} of their norm away")
    print(json.dumps(dict(modules=len(deltas), merged_dtype=str(stored), merged_logit_difference=worst)))


if __name__ == "__main__":
    main()
