#!/usr/bin/env python3
"""Loads an adapter the way PEFT's users do and fails on whatever PEFT would only warn about.

    python tests/peft/check_adapter.py MODEL_DIR ADAPTER_DIR [--ids FILE.json --logits FILE.safetensors]

FILE.json is a list of token id lists, or an object with such a list under "sequences". FILE.safetensors holds
`logits.{i}` `[tokens, vocab]` for each. Prints one JSON line; exit status 1 when tensors are missing, left over or
changed by loading, or when the logits differ by more than 1e-4 of the largest.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

TOLERANCE = 1e-4


def fail(message):
    print(f"check_adapter: {message}", file=sys.stderr)
    sys.exit(1)


def load(model_dir, adapter_dir):
    """Base and adapter in f32. Warnings about adapter keys are errors."""
    base, info = AutoModelForCausalLM.from_pretrained(
        model_dir, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info.get(kind):
            fail(f"the base model has {kind}: {sorted(info[kind])}")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*adapter.*")
        warnings.filterwarnings("error", message=".*[Uu]nexpected.*")
        warnings.filterwarnings("error", message=".*not.*initialized.*")
        model = PeftModel.from_pretrained(base, adapter_dir, is_trainable=True)
    return model.eval()


def compare_keys(model, adapter_dir):
    """Every tensor of the file is a tensor of the model with the same values, and the other way round."""
    stored = load_file(Path(adapter_dir) / "adapter_model.safetensors")
    loaded = get_peft_model_state_dict(model)
    if missing := sorted(loaded.keys() - stored.keys()):
        fail(f"the file lacks {missing}")
    if unexpected := sorted(stored.keys() - loaded.keys()):
        fail(f"the model has no place for {unexpected}")
    for name, tensor in stored.items():
        if tensor.shape != loaded[name].shape or not torch.equal(tensor.float(), loaded[name].float()):
            fail(f"{name} is not what was stored")
    return len(stored)


@torch.no_grad()
def compare_logits(model, ids, logits):
    data = json.loads(Path(ids).read_text())
    sequences = data["sequences"] if isinstance(data, dict) else data
    expected = load_file(logits)
    if not sequences:
        fail(f"{ids} has no sequence")
    worst = 0.0
    for i, sequence in enumerate(sequences):
        found = model(input_ids=torch.tensor([sequence]), use_cache=False).logits[0]
        other = expected.get(f"logits.{i}")
        if other is None or other.shape != found.shape:
            fail(f"{logits}: logits.{i} should be {list(found.shape)}, is {None if other is None else list(other.shape)}")
        if not torch.isfinite(other).all():
            fail(f"{logits}: logits.{i} is not finite")
        worst = max(worst, ((found - other.float()).abs().max() / found.abs().max()).item())
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir")
    parser.add_argument("adapter_dir")
    parser.add_argument("--ids")
    parser.add_argument("--logits")
    args = parser.parse_args()
    if bool(args.ids) != bool(args.logits):
        parser.error("--ids and --logits belong together")
    model = load(args.model_dir, args.adapter_dir)
    keys = compare_keys(model, args.adapter_dir)
    difference = compare_logits(model, args.ids, args.logits) if args.ids else None
    trainable, total = model.get_nb_trainable_parameters()
    print(
        json.dumps(
            dict(
                adapter_keys=keys,
                trainable_parameters=trainable,
                total_parameters=total,
                max_relative_logit_difference=difference,
            )
        )
    )
    if difference is not None and not difference <= TOLERANCE:
        fail(f"the logits differ by {difference:.2e} of the largest, more than {TOLERANCE:.0e}")


if __name__ == "__main__":
    main()
