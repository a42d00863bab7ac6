#!/usr/bin/env python3
"""Writes tests/host/fixtures/exports: golden adapters as GGUF files, converted with llama.cpp's Python package.

    python tests/golden/make_exports.py        # needs tests/peft/requirements.txt

The names come from the package's tensor map, the rows of query and key from the reshape that llama.cpp's converter does.
"""

import json
import re
from pathlib import Path

import gguf
import numpy as np
from gguf import MODEL_ARCH as ARCH
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "tests/host/fixtures/exports"
CASES = {  # every way in which names, rows and scales are changed
    "gqa_f32_untied": ARCH.LLAMA, "untied_wide": ARCH.LLAMA, "qwen2": ARCH.QWEN2, "phi3": ARCH.PHI3, "gpt2": ARCH.GPT2,
    "smollm3": ARCH.SMOLLM3,
}
ORDER = ["q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj", "gate_proj", "up_proj", "gate_up_proj", "down_proj"]
ORDER += ["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"]


def order(module):
    layer = int(re.search(r"\.(\d+)\.", module)[1])
    return layer, next(i for i, name in enumerate(ORDER) if module.endswith("." + name))


def pattern(patterns, module, default):
    return next((value for key, value in sorted(patterns.items()) if re.match(rf"^(.*\.)?({key})$", module)), default)


def permute(rows, heads):
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def write(case, arch):
    folder = ROOT / "tests/golden" / case
    config = json.loads((folder / "config.json").read_text())
    lora = json.loads((folder / "adapter/adapter_config.json").read_text())
    tensors = load_file(folder / "adapter/adapter_model.safetensors")
    modules = {name.removeprefix("base_model.model.").rsplit(".lora_", 1)[0] for name in tensors}
    modules = sorted(modules, key=order)
    alphas = {module: pattern(lora["alpha_pattern"], module, lora["lora_alpha"]) for module in modules}
    alpha = alphas[modules[0]]
    writer = gguf.GGUFWriter(OUT / f"{case}.gguf", gguf.MODEL_ARCH_NAMES[arch])
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    names = gguf.get_tensor_name_map(arch, config.get("num_hidden_layers") or config["n_layer"])
    for module in modules:
        a, b = (tensors[f"base_model.model.{module}.lora_{half}.weight"] for half in "AB")
        b = (b.astype(np.float64) * (alphas[module] / alpha)).astype(np.float32)
        if arch in (ARCH.LLAMA, ARCH.SMOLLM3) and module.endswith(("q_proj", "k_proj")):
            b = permute(b, config["num_attention_heads" if module.endswith("q_proj") else "num_key_value_heads"])
        name = names.get_name(module)
        writer.add_tensor(f"{name}.weight.lora_a", np.ascontiguousarray(a))
        writer.add_tensor(f"{name}.weight.lora_b", np.ascontiguousarray(b))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for case, arch in CASES.items():
        write(case, arch)


if __name__ == "__main__":
    main()
