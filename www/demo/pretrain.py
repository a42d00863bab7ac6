"""Trains the built-in base model: a small Llama on the stories of stories.py, with its own tokenizer.

    pip install torch transformers tokenizers safetensors
    python www/demo/pretrain.py --out www/public/demo --minutes 5      # on a GPU

Writes config.json, model.safetensors (bfloat16), tokenizer.json and tokenizer_config.json.
"""

import argparse
import json
import math
import multiprocessing
import pathlib
import random
import time

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from tasks import EOS, base_document, tokenizer_documents

CONTEXT = 512
SPECIAL = [EOS, "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{{ '\\n' }}{% else %}{{ message['content'] + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def make_tokenizer(vocab_size):
    rng = random.Random(0)
    texts = [text for _ in range(20_000) for text in tokenizer_documents(rng)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=SPECIAL,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def documents(job):
    seed, count = job
    rng = random.Random(seed)
    return [base_document(rng) for _ in range(count)]


def make_rows(tokenizer, count, seed):
    """Rows of CONTEXT tokens; each begins with a document and goes on with further ones."""
    per_job = 2_000
    jobs = [(seed + i, min(per_job, count - i * per_job)) for i in range(math.ceil(count / per_job))]
    rows, row = [], []
    with multiprocessing.Pool() as pool:
        for texts in pool.imap(documents, jobs):
            for encoding in tokenizer.encode_batch(texts):
                row += encoding.ids
                if len(row) >= CONTEXT:
                    rows.append(row[:CONTEXT])
                    row = []
    return torch.from_numpy(np.array(rows, dtype=np.int64))


def loss_of(model, batch):
    return model(input_ids=batch, labels=batch, use_cache=False).loss


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--documents", type=int, default=400_000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--vocab", type=int, default=2048)
    args = parser.parse_args()
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    start = time.time()
    tokenizer = make_tokenizer(args.vocab)
    train = make_rows(tokenizer, args.documents, seed=1_000_000)
    held_out = make_rows(tokenizer, 600, seed=9_000_000).to(device)
    print(f"{len(train)} rows of {CONTEXT} tokens in {time.time() - start:.0f} s", flush=True)

    config = LlamaConfig(
        vocab_size=args.vocab, hidden_size=192, intermediate_size=512, num_hidden_layers=4, num_attention_heads=6,
        num_key_value_heads=2, head_dim=32, max_position_embeddings=CONTEXT, rms_norm_eps=1e-5, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=[0, 2], pad_token_id=None, dtype="bfloat16")
    model = LlamaForCausalLM(config).float().to(device)
    print(f"{sum(p.numel() for p in model.parameters())} parameters on {device}", flush=True)
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}],
                                  lr=args.lr, betas=(0.9, 0.95))

    train = train.to(device)
    start, step = time.time(), 0
    total = args.minutes * 60
    while (used := time.time() - start) < total:
        # The learning rate follows the clock: warm-up, then a cosine to nothing.
        done = used / total
        for group in optimizer.param_groups:
            group["lr"] = args.lr * min(1, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * done))
        batch = train[torch.randint(len(train), (args.batch,), device=device)]
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if step % 500 == 0 or step == 1:
            print(f"step {step} loss {loss.item():.4f} {used:.0f} s", flush=True)
    model = model.to(torch.bfloat16).eval()
    with torch.no_grad():
        losses = [loss_of(model.float(), batch).item() for batch in held_out.split(args.batch)]
    print(f"{step} steps, held-out loss {sum(losses) / len(losses):.4f}", flush=True)

    # The tied head is the embedding: stored once.
    state = {k: v.to(torch.bfloat16).cpu().contiguous() for k, v in model.state_dict().items() if k != "lm_head.weight"}
    save_file(state, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps({**json.loads(config.to_json_string(use_diff=False)),
                                                 "architectures": ["LlamaForCausalLM"]}, indent=2, sort_keys=True) + "\n")
    tokenizer.save(str(out / "tokenizer.json"))
    (out / "tokenizer_config.json").write_text(json.dumps({
        "bos_token": EOS, "eos_token": EOS, "model_max_length": CONTEXT, "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": CHAT_TEMPLATE}, indent=2) + "\n")
    for prompt in ["Once upon a time", "Tell a story about Mia and a silver key.\n", "Tom was a brave boy who"]:
        ids = torch.tensor([tokenizer.encode(prompt).ids], device=device)
        with torch.no_grad():
            written = model.generate(ids, max_new_tokens=200, do_sample=True, temperature=0.7, eos_token_id=[0, 2], pad_token_id=0)
        print("---", tokenizer.decode(written[0].tolist()), flush=True)


if __name__ == "__main__":
    main()
