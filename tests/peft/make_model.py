#!/usr/bin/env python3
"""Writes a complete model folder with random weights, for runs at the full size of a real model.

    python tests/peft/make_model.py src/bench/models/SmolLM2-135M.json OUT [--dtype float32] [--seed 0]

OUT gets config.json, model.safetensors, tokenizer.json and tokenizer_config.json. The tokenizer is byte-level without
merges: 256 bytes beside the special tokens that the configuration names.
"""

import argparse
import json
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM


def special_tokens(config):
    """`{id: token}` of the beginning and end of text; one token where both ids are the same."""
    eos = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    ids = [i for i in [config.bos_token_id, *eos] if i is not None]
    return {i: "<|endoftext|>" if i == eos[0] else f"<|special_{i}|>" for i in ids}


def write_tokenizer(config, folder):
    specials = special_tokens(config)
    if config.vocab_size < 256 + len(specials):
        raise SystemExit(f"vocab_size {config.vocab_size} is too small for 256 bytes and {len(specials)} special tokens")
    free = (i for i in range(config.vocab_size) if i not in specials)
    vocab = {token: i for i, token in specials.items()}
    vocab |= {char: next(free) for char in sorted(pre_tokenizers.ByteLevel.alphabet())}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in specials.values()])
    assert all(tokenizer.token_to_id(t) == i for i, t in specials.items())
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = dict(tokenizer_class="PreTrainedTokenizerFast", model_max_length=config.max_position_embeddings)
    if config.bos_token_id is not None:
        settings["bos_token"] = specials[config.bos_token_id]
    if config.eos_token_id is not None:
        settings["eos_token"] = settings["pad_token"] = "<|endoftext|>"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], help="default: the configuration's")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    config = AutoConfig.from_pretrained(args.config)
    stored = config.dtype or torch.float32
    dtype = getattr(torch, args.dtype) if args.dtype else getattr(torch, stored) if isinstance(stored, str) else stored
    args.out.mkdir(parents=True, exist_ok=True)
    write_tokenizer(config, args.out)
    torch.manual_seed(args.seed)
    # Billions of random numbers are a GPU's work where there is one.
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).to(dtype)
    model.save_pretrained(args.out)
    print(f"{args.out}: {model.num_parameters():,} parameters in {dtype}")


if __name__ == "__main__":
    main()
