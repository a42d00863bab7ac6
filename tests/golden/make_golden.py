#!/usr/bin/env python3
"""Writes the golden files of tests/golden: small random Llama models with LoRA adapters, and what transformers,
PEFT and torch compute with them. README.md says what each file and field holds; cases.py names the cases.

    python tests/golden/make_golden.py            # all cases
    python tests/golden/make_golden.py tied_f16   # one case

Everything random comes from fixed seeds, so the same library versions write the same files.
"""

import contextlib
import json
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

if os.environ.get("PYTHONHASHSEED") != "0":  # PEFT writes target_modules in the order of a Python set
    os.environ["PYTHONHASHSEED"] = "0"
    os.execv(sys.executable, [sys.executable, *sys.argv])

import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama import modeling_llama

from cases import CASES, STEPS, mask_of

HERE = Path(__file__).resolve().parent
TRAINING = dict(
    learning_rate=5e-3, lr_scheduler_type="linear", warmup_steps=3, max_grad_norm=0.5, weight_decay=0.01,
    adam_beta1=0.9, adam_beta2=0.999, adam_epsilon=1e-8, gradient_accumulation_steps=2, max_steps=STEPS,
)


@contextlib.contextmanager
def double_precision():
    """transformers computes norms, softmax and RoPE in f32 whatever the model's type: inside, they keep f64."""

    def rms_norm(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    def rotary(self, x, position_ids):
        base = self.config.rope_parameters["rope_theta"]
        exponent = torch.arange(0, self.config.head_dim, 2, dtype=torch.float64) / self.config.head_dim
        angles = position_ids[..., None].double() / base**exponent
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos(), angles.sin()

    def attention(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
        groups = module.num_key_value_groups
        key, value = (modeling_llama.repeat_kv(t, groups) for t in (key, value))
        scores = query @ key.transpose(2, 3) * scaling
        weights = torch.softmax(scores + attention_mask, dim=-1)
        return (weights @ value).transpose(1, 2).contiguous(), weights

    saved = (
        modeling_llama.LlamaRMSNorm.forward,
        modeling_llama.LlamaRotaryEmbedding.forward,
        modeling_llama.eager_attention_forward,
    )
    modeling_llama.LlamaRMSNorm.forward = rms_norm
    modeling_llama.LlamaRotaryEmbedding.forward = rotary
    modeling_llama.eager_attention_forward = attention
    try:
        yield
    finally:
        modeling_llama.LlamaRMSNorm.forward = saved[0]
        modeling_llama.LlamaRotaryEmbedding.forward = saved[1]
        modeling_llama.eager_attention_forward = saved[2]


def write_model(case, folder):
    """Random weights of a size that makes logits of standard deviation near 1.5, saved by save_pretrained."""
    config = LlamaConfig(**case["config"], bos_token_id=0, eos_token_id=0)
    torch.manual_seed(case["seed"])
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:
                p.copy_(1 + 0.2 * torch.randn_like(p))
            elif name.endswith("bias"):
                p.copy_(0.2 * torch.randn_like(p))
            elif "embed_tokens" in name or "lm_head" in name:
                p.copy_(1.5 * torch.randn_like(p) / config.hidden_size**0.5)
            else:
                p.copy_(1.2 * torch.randn_like(p) / p.shape[1] ** 0.5)
    model.to(getattr(torch, case["dtype"])).save_pretrained(folder)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    if config.tie_word_embeddings:
        assert "lm_head.weight" not in tensors
        if case.get("store_only") == "lm_head.weight":
            tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")
            save_file(tensors, path, metadata={"format": "pt"})
    (folder / "generation_config.json").unlink(missing_ok=True)


def load_base(folder):
    """The stored weights widened to f32."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    model.name_or_path = f"tests/golden/{folder.name}"
    return model


def write_adapter(case, folder):
    """A PEFT adapter with lora_A at its usual size and lora_B far from zero. Returns (trainable, total) parameters."""
    config = LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, bias="none", **case["lora"])
    model = get_peft_model(load_base(folder), config)
    torch.manual_seed(case["seed"] + 1000)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_A" in name:
                p.uniform_(-1, 1).div_(p.shape[1] ** 0.5)
            elif "lora_B" in name:
                p.normal_().mul_(0.25 / p.shape[1] ** 0.5)
    model.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink(missing_ok=True)
    return model.get_nb_trainable_parameters()


def load_peft(folder, dtype):
    model = PeftModel.from_pretrained(load_base(folder), folder / "adapter", is_trainable=True)
    return model.to(dtype).eval()


def logits_of(model, sequence):
    return model(input_ids=torch.tensor([sequence]), use_cache=False).logits[0]


def nll_sum(model, sequence, mask):
    """Sum over the labels of -log p, and their number; token i is predicted at i - 1, so token 0 never counts."""
    labels = torch.tensor([t if m else -100 for t, m in zip(sequence, mask)])[1:]
    loss = torch.nn.functional.cross_entropy(logits_of(model, sequence)[:-1], labels, ignore_index=-100, reduction="sum")
    return loss, int((labels != -100).sum())


def backward_of(model, batch):
    """Accumulates the gradient of the token mean over all sequences of all micro-batches; returns that mean."""
    sums = []
    tokens = sum(sum(mask[1:]) for micro in batch for _, mask in micro)
    for micro in batch:
        loss = sum(nll_sum(model, sequence, mask)[0] for sequence, mask in micro) / tokens
        loss.backward()
        sums.append(loss.item())
    return sum(sums), tokens


def adapter_tensors(model, prefix, of=lambda p: p):
    """Tensors by PEFT's names on disk, as f32."""
    named = {name: of(p) for name, p in model.named_parameters() if p.requires_grad}
    state = get_peft_model_state_dict(model, state_dict=named)
    return {f"{prefix}.{name}": t.detach().float().contiguous() for name, t in state.items()}


def train(model, rows, steps, max_grad_norm):
    """What the Trainer of transformers does with an AdamW, a schedule, clipping and accumulation."""
    t = TRAINING
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=t["learning_rate"], betas=(t["adam_beta1"], t["adam_beta2"]), eps=t["adam_epsilon"],
        weight_decay=t["weight_decay"],
    )
    scheduler = transformers.get_scheduler(t["lr_scheduler_type"], optimizer, t["warmup_steps"], t["max_steps"])
    out = dict(losses=[], grad_norms=[], learning_rates=[], target_tokens=[])
    for batch in steps:
        loss, tokens = backward_of(model, [[rows[i] for i in micro] for micro in batch])
        norm = torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
        out["losses"].append(loss)
        out["grad_norms"].append(norm.item())
        out["learning_rates"].append(scheduler.get_last_lr()[0])
        out["target_tokens"].append(tokens)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    return out


def check_gradient(model, rows, seed):
    """The f64 gradient against a central difference along one random direction: both must be the same number."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    generator = torch.Generator().manual_seed(seed)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    slope = sum((p.grad * d).sum() for p, d in zip(parameters, direction)).item()
    values = []
    with torch.no_grad():
        for h in (1e-5, -2e-5):
            for p, d in zip(parameters, direction):
                p.add_(d, alpha=h)
            total = [nll_sum(model, *row) for row in rows]
            values.append(sum(v.item() for v, _ in total) / sum(n for _, n in total))
        for p, d in zip(parameters, direction):
            p.add_(d, alpha=1e-5)
    numeric = (values[0] - values[1]) / 2e-5
    assert abs(numeric - slope) <= 1e-6 * abs(slope) + 1e-9, (numeric, slope)


def relative(a, b):
    return ((a.double() - b.double()).abs().max() / b.abs().max()).item()


def make(name, case, folder):
    write_model(case, folder)
    trainable, total = write_adapter(case, folder)
    generator = torch.Generator().manual_seed(case["seed"] + 2000)
    vocab = case["config"]["vocab_size"]
    sequences = [torch.randint(1, vocab, (n,), generator=generator).tolist() for n in case["lengths"]]
    masks = [mask_of(kind, n) for kind, n in zip(case["masks"], case["lengths"])]
    rows = list(zip(sequences, masks))
    max_grad_norm = case.get("max_grad_norm", TRAINING["max_grad_norm"])

    tensors, runs, report = {}, {}, {}
    for dtype, suffix in ((torch.float64, ""), (torch.float32, "_f32")):
        with double_precision() if dtype == torch.float64 else contextlib.nullcontext():
            model = load_peft(folder, dtype)
            with torch.no_grad():
                for i, sequence in enumerate(sequences):
                    tensors[f"logits{suffix}.{i}"] = logits_of(model, sequence)
                    with model.disable_adapter():
                        if not suffix:
                            tensors[f"base_logits.{i}"] = logits_of(model, sequence)
            loss, _ = backward_of(model, [rows])
            report[f"loss{suffix}"] = loss
            if not suffix:
                check_gradient(model, rows, case["seed"])
                tensors |= adapter_tensors(model, "grad", lambda p: p.grad)
                for p in model.parameters():
                    p.grad = None
                model = load_peft(folder, dtype)
            for p in model.parameters():
                p.grad = None
            runs[suffix] = train(model, rows, case["micro_batches"], max_grad_norm)
            tensors |= adapter_tensors(model, f"final{suffix}")
    tensors = {key: t.float().contiguous() for key, t in tensors.items()}
    save_file(tensors, folder / "golden.safetensors")

    golden = dict(
        versions=dict(torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__),
        requested_lora=case["lora"],
        trainable_parameters=trainable,
        total_parameters=total,
        sequences=sequences,
        masks=masks,
        target_tokens=sum(sum(mask[1:]) for mask in masks),
        **report,
        training=TRAINING
        | dict(max_grad_norm=max_grad_norm, micro_batches=case["micro_batches"])
        | {key: runs[""][key] for key in ("learning_rates", "target_tokens")}
        | {key + suffix: runs[suffix][key] for key in ("losses", "grad_norms") for suffix in ("", "_f32")},
    )
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in golden.items()]
    (folder / "golden.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")

    effect = relative(tensors["logits.0"], tensors["base_logits.0"])
    noise = max(relative(tensors[f"logits_f32.{i}"], tensors[f"logits.{i}"]) for i in range(len(sequences)))
    drift = max(relative(tensors[k.replace("final.", "final_f32.")], t) for k, t in tensors.items() if k.startswith("final."))
    assert effect > 0.05 and noise < 1e-5, (effect, noise)
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    a, b = runs[""], runs["_f32"]
    print(
        f"{name}: {size // 1024} KB, adapter moves logits by {effect:.2f}, f32 differs by {noise:.1e}, after training by "
        f"{drift:.1e} (losses {max(abs(x / y - 1) for x, y in zip(b['losses'], a['losses'])):.1e}); loss {a['losses'][0]:.3f} -> "
        f"{a['losses'][-1]:.3f}, norms {min(a['grad_norms']):.2f} to {max(a['grad_norms']):.2f}, parameters {trainable}/{total}"
    )
    assert size <= 400 * 1024, size


def main():
    warnings.filterwarnings("ignore", message="Could not find a config file")  # the base's name is no path here
    transformers.utils.logging.disable_progress_bar()
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    for name in sys.argv[1:] or CASES:
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / name
            folder.mkdir()
            make(name, CASES[name], folder)
            shutil.rmtree(HERE / name, ignore_errors=True)
            shutil.copytree(folder, HERE / name)


if __name__ == "__main__":
    main()
