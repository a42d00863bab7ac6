#!/usr/bin/env python3
"""Writes tests/host/fixtures/gguf: blocks of every quantised type with what llama.cpp's Python package decodes them to,
and small models as llama.cpp converts them, with what their own tokenizers make of some texts.

    python tests/golden/make_gguf.py        # needs gguf besides tests/peft/requirements.txt

Everything random comes from fixed seeds, so the same library versions write the same files.
"""

import json
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Q
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers.integrations.gguf.gguf_tokenizer_mapping import convert_gguf_tokenizer, get_gguf_tokenizer
from transformers.models.gemma.tokenization_gemma import GemmaTokenizer
from transformers.models.llama.tokenization_llama import LlamaTokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX as QWEN2
from transformers.tokenization_utils_base import generate_merges

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "tests/host/fixtures/gguf"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXTS = [
    "Hello, world!", " a  leading space", "two\n\nlines\r\n\tand tabs", "don't I'LL we've", "12345 and 3.14159",
    "naïve café, über", "日本語のテキスト", "🦜🏴‍☠️ ahoy", "fn main() { println!(\"{}\", 1_000); }", "  \n  ", "", "a",
    "combining e\u0301", "<|special|>in the middle<|special|> and <tool>defined</tool>", "        eight spaces",
    "trailing space ", "once a small ship sailed",
]


def blocks():
    """Random blocks with scales as models have them, and scales at the edges of f16."""
    rng = np.random.default_rng(7)
    tensors = {}
    half_fields = {  # offsets of the f16 numbers in a block
        Q.Q4_0: [0], Q.Q4_1: [0, 2], Q.Q5_0: [0], Q.Q5_1: [0, 2], Q.Q8_0: [0], Q.Q4_K: [0, 2], Q.Q5_K: [0, 2], Q.Q6_K: [208],
    }
    for kind, fields in half_fields.items():
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        count = 12 if elements == 32 else 4
        data = rng.integers(0, 256, (count, size), dtype=np.uint8)
        for at in fields:
            scales = rng.normal(0, 0.01, count).astype(np.float16)
            scales[0] = np.float16(6e-8)  # the least f16
            scales[1] = np.float16(-0.0)
            data[:, at : at + 2] = scales.view(np.uint8).reshape(count, 2)
        tensors[f"{kind.name}.blocks"] = data
        tensors[f"{kind.name}.values"] = gguf.dequantize(data, kind).astype(np.float32).reshape(-1)
    save_file(tensors, OUT / "blocks.safetensors")


def corpus():
    lines = []
    for line in (ROOT / "www/public/demo/data/pirate.jsonl").read_text().splitlines()[:500]:
        lines += json.loads(line).values()
    return lines


BYTE_SPECIAL = ["<|bos|>", "<|eos|>", "<|special|>"]
DEFINED = ["<tool>", "</tool>"]


def byte_level(pre, nfc):
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=BYTE_SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC() if nfc else None
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in DEFINED])
    return tokenizer


def split(regex):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(regex), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])


def ignoring_merges(tokenizer):
    """A word that no merges lead to is found only by taking it whole."""
    state = json.loads(tokenizer.to_str())
    merges = state["model"]["merges"]
    assert "Ġsmall" in state["model"]["vocab"]
    state["model"]["merges"] = [pair for pair in merges if "".join(pair) != "Ġsmall"]
    state["model"]["ignore_merges"] = True
    return Tokenizer.from_str(json.dumps(state))


def pieces():
    """A sentencepiece-style vocabulary in llama's order: specials, bytes, merged pieces by rank, characters."""
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["<unk>"], show_progress=False)
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(corpus(), trainer)
    state = json.loads(trained.to_str())["model"]
    merged = list(dict.fromkeys("".join(pair) for pair in state["merges"]))
    characters = sorted(token for token in state["vocab"] if len(token) == 1)
    return merged, characters


def write(name, tokens, types, arch, keys, merges=None, scores=None, model="gpt2"):
    """A model of one layer with these tokens, as convert_hf_to_gguf writes it."""
    rng = np.random.default_rng(11)
    hidden, inner, heads, head_dim = 32, 64, 2, 16
    writer = gguf.GGUFWriter(OUT / f"{name}.gguf", arch)
    writer.add_name(name)
    writer.add_block_count(1)
    writer.add_context_length(128)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(1)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(500000.0)
    writer.add_tokenizer_model(model)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if merges is not None:
        writer.add_token_merges(merges)
    if scores is not None:
        writer.add_token_scores(scores)
    for key, value in keys.items():
        {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string}[type(value)](key, value)
    table = rng.normal(0, 0.1, (len(tokens), hidden)).astype(np.float32)
    writer.add_tensor("token_embd.weight", gguf.quantize(table, Q.Q8_0), raw_dtype=Q.Q8_0)
    writer.add_tensor("output_norm.weight", np.ones(hidden, np.float32))
    shapes = {
        "attn_norm": [hidden], "ffn_norm": [hidden], "attn_q": [heads * head_dim, hidden], "attn_k": [head_dim, hidden],
        "attn_v": [head_dim, hidden], "attn_output": [hidden, heads * head_dim], "ffn_gate": [inner, hidden],
        "ffn_up": [inner, hidden], "ffn_down": [hidden, inner],
    }
    if arch == "gemma3":
        shapes |= {"post_attention_norm": [hidden], "post_ffw_norm": [hidden], "attn_q_norm": [head_dim], "attn_k_norm": [head_dim]}
    if arch == "qwen3":
        shapes |= {"attn_q_norm": [head_dim], "attn_k_norm": [head_dim]}
    for part, shape in shapes.items():
        values = rng.normal(0, 0.1, shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(f"blk.0.{part}.weight", values + 1)
        else:
            writer.add_tensor(f"blk.0.{part}.weight", values.astype(np.float16))
    if arch == "qwen2":
        for part, rows in {"attn_q": heads * head_dim, "attn_k": head_dim, "attn_v": head_dim}.items():
            writer.add_tensor(f"blk.0.{part}.bias", rng.normal(0, 0.1, rows).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def expect(expected, name, tokenizer, bos=None):
    """`tokenizer` is the model's own."""
    encode = lambda text: ([bos] if bos is not None else []) + tokenizer.encode(text, add_special_tokens=False).ids
    expected[name] = [
        {"text": text, "ids": encode(text), "decoded": tokenizer.decode(encode(text), skip_special_tokens=True)}
        for text in TEXTS
    ]


def check_transformers(name, tokenizer):
    """transformers' own reading of the file agrees."""
    architecture, parts, _ = get_gguf_tokenizer(str(OUT / f"{name}.gguf"))
    theirs, _ = convert_gguf_tokenizer(architecture, parts)
    for text in TEXTS:
        ours = tokenizer.encode(text, add_special_tokens=False).ids
        assert theirs.encode(text, add_special_tokens=False).ids == ours, (name, text)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    blocks()
    expected = {}
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2])
    control, normal, defined, unknown, byte = 3, 1, 4, 2, 6
    template = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}"
    for pre, arch, tokenizer, add_bos in [
        ("gpt-2", "llama", byte_level(gpt2, False), False),
        ("smollm", "llama", byte_level(digits, False), False),
        ("llama-bpe", "llama", ignoring_merges(byte_level(split(LLAMA3), False)), True),
        ("qwen2", "qwen2", byte_level(split(QWEN2), True), False),
        ("qwen2", "qwen3", byte_level(split(QWEN2), True), False),
    ]:
        vocab = sorted(tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda pair: pair[1])
        tokens = [token for token, _ in vocab]
        assert [i for _, i in vocab] == list(range(len(vocab)))
        types = [control if t in BYTE_SPECIAL else defined if t in DEFINED else normal for t in tokens]
        merges = json.loads(tokenizer.to_str())["model"]["merges"]
        keys = {
            "tokenizer.ggml.pre": pre, "tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.eos_token_id": 1,
            "tokenizer.ggml.add_bos_token": add_bos, "tokenizer.chat_template": template,
        }
        if pre == "llama-bpe":  # llama.cpp adds the token to this kind without being told
            del keys["tokenizer.ggml.add_bos_token"]
        name = f"{arch}-{pre}"
        write(name, tokens, types, arch, keys, merges=[" ".join(pair) for pair in merges])
        expect(expected, name, tokenizer, bos=0 if add_bos else None)
        if pre == "gpt-2":  # the others' details are in no GGUF, and transformers leaves some of them out
            check_transformers(name, tokenizer)

    merged, characters = pieces()
    head = ["<unk>", "<s>", "</s>", "<|special|>", *DEFINED]
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    tokens = head + bytes_ + merged + characters
    types = [unknown, control, control, control, defined, defined] + [byte] * 256 + [normal] * (len(merged) + len(characters))
    scores = [0.0] * (len(head) + 256) + [-float(i) for i in range(len(merged) + len(characters))]
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = LlamaTokenizer(vocab=vocab, merges=generate_merges(vocab, dict(zip(tokens, scores))))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|special|>"]})
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in DEFINED])
    keys = {
        "tokenizer.ggml.pre": "default", "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0, "tokenizer.ggml.add_space_prefix": True,
    }
    write("llama-spm", tokens, types, "llama", keys, scores=scores, model="llama")
    expect(expected, "llama-spm", tokenizer.backend_tokenizer, bos=1)
    check_transformers("llama-spm", tokenizer.backend_tokenizer)

    head = ["<pad>", "<eos>", "<bos>", "<unk>", "<|special|>", *DEFINED]
    runs = ["▁" * n for n in range(2, 9)]
    tokens = head + runs + bytes_ + [m for m in merged if m not in runs] + characters
    types = [control] * 3 + [unknown, control] + [defined] * (2 + len(runs)) + [byte] * 256
    types += [normal] * (len(tokens) - len(types))
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = GemmaTokenizer(vocab=vocab, merges=generate_merges(vocab, {t: -i for t, i in vocab.items()}))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|special|>"]})
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in DEFINED + runs])
    keys = {
        "tokenizer.ggml.pre": "default", "tokenizer.ggml.bos_token_id": 2, "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.unknown_token_id": 3, "tokenizer.ggml.padding_token_id": 0, "tokenizer.ggml.eot_token_id": 4,
        "tokenizer.ggml.add_space_prefix": False, "gemma3.attention.sliding_window": 16,
    }
    stored = [" " * len(t) if t in runs else t for t in tokens]
    write("gemma3", stored, types, "gemma3", keys, scores=[-1000.0] * len(tokens), model="llama")
    expect(expected, "gemma3", tokenizer.backend_tokenizer, bos=2)
    check_transformers("gemma3", tokenizer.backend_tokenizer)
    (OUT / "tokenizers.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
