#!/usr/bin/env python3
"""Writes the golden files of tests/golden: small random models with LoRA adapters, and what transformers,
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
from itertools import cycle, islice
from pathlib import Path

if os.environ.get("PYTHONHASHSEED") != "0":  # PEFT writes target_modules in the order of a Python set
    os.environ["PYTHONHASHSEED"] = "0"
    os.execv(sys.executable, [sys.executable, *sys.argv])

import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig
from transformers.pytorch_utils import Conv1D

from cases import CASES, mask_of

HERE = Path(__file__).resolve().parent
TRAINING = dict(
    learning_rate=5e-3, lr_scheduler_type="linear", warmup_steps=3, max_grad_norm=0.5, weight_decay=0.01,
    adam_beta1=0.9, adam_beta2=0.999, adam_epsilon=1e-8, per_device_train_batch_size=2, gradient_accumulation_steps=2,
    max_steps=20,
)
NEW_TOKENS = 12


def config_of(case):
    # Every family's defaults for these are outside such small vocabularies.
    return AutoConfig.for_model(case.get("model_type", "llama"), **case["config"], bos_token_id=0, eos_token_id=0)


def rotary_frequencies(rope, head_dim):
    """theta^(-2i/d) in f64 and what `linear` and `llama3` make of it (modeling_rope_utils.py)."""
    dim = int(head_dim * rope.get("partial_rotary_factor", 1.0))
    frequencies = 1 / rope["rope_theta"] ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    if rope["rope_type"] == "linear":
        return frequencies / rope["factor"]
    if rope["rope_type"] == "llama3":
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        turns = rope["original_max_position_embeddings"] * frequencies / (2 * torch.pi)
        smooth = ((turns - low) / (high - low)).clamp(0, 1)
        return frequencies * (smooth + (1 - smooth) / rope["factor"])
    assert rope["rope_type"] == "default", rope
    return frequencies


@contextlib.contextmanager
def double_precision(case):
    """transformers computes norms, softmax and RoPE in f32 whatever the model's type: inside, they keep f64."""
    modeling = sys.modules[MODEL_FOR_CAUSAL_LM_MAPPING[type(config_of(case))].__module__]

    def rms_norm(self, x):
        eps = self.eps if hasattr(self, "eps") else self.variance_epsilon
        weight = 1 + self.weight if type(self).__name__ == "Gemma3RMSNorm" else self.weight
        return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps))

    def rotary(self, x, position_ids, layer_type=None):
        config = self.config
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        rope = config.rope_parameters[layer_type] if layer_type else config.rope_parameters
        angles = position_ids[..., None].double() * rotary_frequencies(rope, head_dim)
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos(), angles.sin()

    def attention(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
        groups = getattr(module, "num_key_value_groups", 1)
        key, value = (t.repeat_interleave(groups, dim=1) for t in (key, value))
        scores = query @ key.transpose(2, 3) * scaling
        weights = torch.softmax(scores + attention_mask, dim=-1)
        return (weights @ value).transpose(1, 2).contiguous(), weights

    patches = [(modeling, "eager_attention_forward", attention)]
    for name, found in vars(modeling).items():
        if name.endswith("RMSNorm"):
            patches.append((found, "forward", rms_norm))
        elif name.endswith("RotaryEmbedding"):
            patches.append((found, "forward", rotary))
    saved = [(where, name, getattr(where, name)) for where, name, _ in patches]
    for where, name, value in patches:
        setattr(where, name, value)
    try:
        yield
    finally:
        for where, name, value in saved:
            setattr(where, name, value)


def write_model(case, folder):
    """Random weights of a size that makes logits of standard deviation near 1.5, saved by save_pretrained."""
    config = config_of(case)
    torch.manual_seed(case["seed"])
    model = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)](config)
    conv1d = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, Conv1D)}
    one = 0 if config.model_type.startswith("gemma") else 1  # what a norm's weight is added to
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                p.copy_(0.2 * torch.randn_like(p))
            elif "norm" in name or ".ln_" in name:
                p.copy_(one + 0.2 * torch.randn_like(p))
            elif any(table in name for table in ("embed_tokens", "lm_head", "wte", "wpe")):
                p.copy_(1.5 * torch.randn_like(p) / config.hidden_size**0.5)
            else:
                p.copy_(1.2 * torch.randn_like(p) / p.shape[0 if name in conv1d else 1] ** 0.5)
    model.to(getattr(torch, case["dtype"])).save_pretrained(folder)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    if config.tie_word_embeddings:
        assert "lm_head.weight" not in tensors
    if case.get("store_only") == "lm_head.weight":
        tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")
    tensors = {name.removeprefix(case.get("strip_prefix", "")): t for name, t in tensors.items()}
    if "store_only" in case or "strip_prefix" in case:
        save_file(tensors, path, metadata={"format": "pt"})
    (folder / "generation_config.json").unlink(missing_ok=True)


def load_base(case, folder):
    """The stored weights widened to f32. transformers is not asked to find a tensor under its other name."""
    config = AutoConfig.from_pretrained(folder)
    config.dtype = torch.float32
    model = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]._from_config(config, attn_implementation="eager")
    prefix = case.get("strip_prefix", "")
    tensors = {prefix + name: t.float() for name, t in load_file(folder / "model.safetensors").items()}
    if case.get("store_only") == "lm_head.weight":
        tensors["model.embed_tokens.weight"] = tensors["lm_head.weight"]
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    model.tie_weights()
    model.name_or_path = f"tests/golden/{folder.name}"
    return model


def write_adapter(case, folder):
    """A PEFT adapter with lora_A at its usual size and lora_B far from zero. Returns (trainable, total) parameters."""
    config = LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, bias="none", **case["lora"])
    model = get_peft_model(load_base(case, folder), config)
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


def load_peft(case, folder, dtype):
    model = PeftModel.from_pretrained(load_base(case, folder), folder / "adapter", is_trainable=True)
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


def steps_of(count):
    """Unshuffled, as the Trainer goes through `count` rows: optimizer steps, each a list of micro-batches of row
    indices. The last batch and the last step of an epoch may be smaller; epochs follow until there are `max_steps`."""
    size, accumulation = TRAINING["per_device_train_batch_size"], TRAINING["gradient_accumulation_steps"]
    batches = [list(range(i, min(i + size, count))) for i in range(0, count, size)]
    epoch = [batches[i : i + accumulation] for i in range(0, len(batches), accumulation)]
    return list(islice(cycle(epoch), TRAINING["max_steps"]))


def train(model, rows, max_grad_norm):
    """What the Trainer of transformers does with an AdamW, a schedule, clipping and accumulation."""
    t = TRAINING
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=t["learning_rate"], betas=(t["adam_beta1"], t["adam_beta2"]), eps=t["adam_epsilon"],
        weight_decay=t["weight_decay"],
    )
    scheduler = transformers.get_scheduler(t["lr_scheduler_type"], optimizer, t["warmup_steps"], t["max_steps"])
    out = dict(losses=[], grad_norms=[], learning_rates=[], target_tokens=[])
    for batch in steps_of(len(rows)):
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
    """The f64 gradient against a central difference along one random direction. The slope along a standard normal
    direction has the gradient's norm as its deviation, so that norm is the scale of the allowed error."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    generator = torch.Generator().manual_seed(seed)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    slope = sum((p.grad * d).sum() for p, d in zip(parameters, direction)).item()
    norm = sum(p.grad.square().sum() for p in parameters).sqrt().item()
    h, values = 1e-6, []
    with torch.no_grad():
        for move in (h, -2 * h):
            for p, d in zip(parameters, direction):
                p.add_(d, alpha=move)
            total = [nll_sum(model, *row) for row in rows]
            values.append(sum(v.item() for v, _ in total) / sum(n for _, n in total))
    numeric = (values[0] - values[1]) / (2 * h)
    assert abs(numeric - slope) <= 1e-7 * norm, (numeric, slope, norm)


def continuation(model, prompt):
    """Greedy tokens by transformers' generate, with its key-value cache. No choice may be so close that f32 decides."""
    out = model.generate(
        input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), do_sample=False,
        max_new_tokens=NEW_TOKENS, eos_token_id=None, pad_token_id=0, return_dict_in_generate=True, output_logits=True,
    )
    for logits in out.logits:
        first, second = logits[0].topk(2).values
        assert first - second > 1e-3, "choose another seed: the likeliest tokens are too close"
    return out.sequences[0, len(prompt) :].tolist()


def distance(a, b):
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


def make(name, case, folder):
    write_model(case, folder)
    trainable, total = write_adapter(case, folder)
    generator = torch.Generator().manual_seed(case["seed"] + 2000)
    vocab = case["config"]["vocab_size"]
    sequences = [torch.randint(1, vocab, (n,), generator=generator).tolist() for n in case["lengths"]]
    masks = [mask_of(kind, n) for kind, n in zip(case["masks"], case["lengths"])]
    rows = list(zip(sequences, masks))
    longest = max(range(len(rows)), key=lambda i: len(sequences[i]))

    training = TRAINING | {key: case[key] for key in ("max_grad_norm",) if key in case}

    tensors, logits_f32, final_f32, runs, losses = {}, {}, {}, {}, {}
    for dtype in (torch.float64, torch.float32):
        exact = dtype == torch.float64
        with double_precision(case) if exact else contextlib.nullcontext():
            model = load_peft(case, folder, dtype)
            with torch.no_grad():
                for i, sequence in enumerate(sequences):
                    (tensors if exact else logits_f32)[f"logits.{i}"] = logits_of(model, sequence)
                if exact:
                    with model.disable_adapter():
                        tensors[f"base_logits.{longest}"] = logits_of(model, sequences[longest])
            losses[dtype], _ = backward_of(model, [rows])
            if exact:
                check_gradient(model, rows, case["seed"])
                tensors |= adapter_tensors(model, "grad", lambda p: p.grad)
            model = load_peft(case, folder, dtype)
            runs[dtype] = train(model, rows, training["max_grad_norm"])
            (tensors if exact else final_f32).update(adapter_tensors(model, "final"))
    model = load_peft(case, folder, torch.float32)
    generation = dict(prompt=longest, adapter=continuation(model, sequences[longest]))
    with model.disable_adapter():
        generation["base"] = continuation(model, sequences[longest])
    assert generation["adapter"] != generation["base"]

    noise = max(distance(t, tensors[key]) for key, t in logits_f32.items())
    drift = max(distance(t, tensors[key]) for key, t in final_f32.items())
    effect = distance(tensors[f"base_logits.{longest}"], tensors[f"logits.{longest}"])
    assert effect > 0.05 and noise < 1e-5 and drift < 1e-4, (effect, noise, drift)
    save_file({key: t.float().contiguous() for key, t in tensors.items()}, folder / "golden.safetensors")

    exact, single = runs[torch.float64], runs[torch.float32]
    golden = dict(
        versions=dict(torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__),
        requested_lora=case["lora"],
        trainable_parameters=trainable,
        total_parameters=total,
        sequences=sequences,
        masks=masks,
        target_tokens=sum(sum(mask[1:]) for mask in masks),
        loss=losses[torch.float64],
        generation=generation,
        training=training,
        steps=exact | {f"{key}_f32": single[key] for key in ("losses", "grad_norms")},
        f32_distance=dict(logits=noise, final=drift),
    )
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in golden.items()]
    (folder / "golden.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")

    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    print(
        f"{name}: {size // 1024} KB, adapter moves logits by {effect:.2f}, f32 differs by {noise:.1e}, after training by "
        f"{drift:.1e} (losses {max(abs(x / y - 1) for x, y in zip(single['losses'], exact['losses'])):.1e}, norms "
        f"{max(abs(x / y - 1) for x, y in zip(single['grad_norms'], exact['grad_norms'])):.1e}); loss "
        f"{exact['losses'][0]:.3f} -> {exact['losses'][-1]:.3f}, norms {min(exact['grad_norms']):.2f} to "
        f"{max(exact['grad_norms']):.2f}, parameters {trainable}/{total}"
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
