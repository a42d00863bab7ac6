#!/usr/bin/env python3
"""The same training steps with PEFT and with postil on one GPU, and what the times are of each other.

    python tests/bench/compare_peft.py --postil target/release/postil --json comparison.json

A case is a model's real shape with random weights (a configuration of src/bench/models, or any config.json) and a batch:
smollm2-135m:4x512 is four sequences of 512 tokens. Every linear layer gets an adapter of rank 16, alpha 32; PEFT takes
its steps with sdpa attention, clipping and fused AdamW. Its variants:

    eager            bf16 weights
    compiled         the same under torch.compile(dynamic=False)
    fp32             f32 weights, eager
    chunked          bf16, head and cross-entropy in checkpointed chunks of tokens, as TRL's chunked loss has it
    compiled-chunked the same with the decoder and the chunk's loss compiled
    reduce-overhead  bf16 under torch.compile(mode="reduce-overhead"), or what it fails with

Each result is printed, and written to --json, as soon as it is known; what matters most comes first, so that a run that
is cut off has told the most. A variant that takes too long is ended with its process and left out.
"""

import argparse
import json
import multiprocessing
import re
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
VARIANTS = ["postil", "eager", "compiled", "fp32", "chunked", "compiled-chunked", "reduce-overhead"]
# What is measured of every case before the rest of any.
PASSES = [["postil", "eager", "compiled"], ["chunked", "fp32"], ["reduce-overhead"], ["compiled-chunked"]]
CASES = "smollm2-135m:4x512 qwen2.5-0.5b:4x512 llama-3.2-1b:4x512 smollm2-135m:8x1024 smollm2-135m:1x512 qwen2.5-0.5b:1x512"
# At least so many times as fast as PEFT eager and compiled; at most so many ms.
TARGETS = {
    "smollm2-135m:1x512": (10, 5, 14),
    "smollm2-135m:4x512": (8, 2.5, 22),
    "smollm2-135m:8x1024": (2.5, 1.2, 58),
    "qwen2.5-0.5b:1x512": (6, 2.5, 24),
    "qwen2.5-0.5b:4x512": (4, 1.0, 42),
    "llama-3.2-1b:4x512": (1.5, 0.65, 70),
}
# At most so much of the memory of PEFT compiled, and with the chunked loss, in these cases.
MEMORY_TARGETS = (0.6, 0.9)
MEMORY_CASES = {"smollm2-135m:8x1024", "qwen2.5-0.5b:4x512", "llama-3.2-1b:4x512"}
RANK, ALPHA = 16, 32
GIB = 1 << 30


class Case:
    def __init__(self, text):
        match = re.fullmatch(r"(.+):(\d+)x(\d+)", text)
        if not match:
            raise argparse.ArgumentTypeError(f"{text}: expected MODEL:BATCHxLENGTH, such as smollm2-135m:4x512")
        self.name, self.model = text, match[1]
        self.batch, self.length = int(match[2]), int(match[3])
        known = {path.stem.lower(): path for path in (REPOSITORY / "src/bench/models").glob("*.json")}
        self.config = known.get(self.model.lower(), Path(self.model))
        if not self.config.exists():
            raise argparse.ArgumentTypeError(f"{self.model}: no such file, and none of {', '.join(sorted(known))}")


# ---- PEFT, in a process of its own


def chunked_loss(model, labels, chunk, compiled):
    """Loss of a batch whose logits never exist at once: chunks of tokens, computed again in the backward pass."""
    import torch
    from torch.nn.functional import cross_entropy
    from torch.utils.checkpoint import checkpoint

    causal = model.get_base_model()
    decoder = torch.compile(causal.model, dynamic=False) if compiled else causal.model

    def of_chunk(hidden, targets):
        return cross_entropy(causal.lm_head(hidden).float(), targets, reduction="sum")

    if compiled:
        of_chunk = torch.compile(of_chunk, dynamic=False)

    def loss():
        hidden = decoder(input_ids=labels, use_cache=False).last_hidden_state[:, :-1]
        hidden, targets = hidden.reshape(-1, hidden.shape[-1]), labels[:, 1:].reshape(-1)
        parts = zip(hidden.split(chunk), targets.split(chunk))
        return sum(checkpoint(of_chunk, h, t, use_reentrant=False) for h, t in parts) / targets.numel()

    return loss


def peft_steps(case, variant, options):
    """Times of steps, ms, and the most memory that tensors took, bytes."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    device = torch.device(options["device"])
    on_gpu = device.type == "cuda"
    torch.manual_seed(0)
    torch._dynamo.reset()
    config = AutoConfig.from_pretrained(case["config"])
    dtype = torch.float32 if variant == "fp32" else torch.bfloat16
    with device:
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    model.config.use_cache = False
    lora = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, lora).train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=2e-4, weight_decay=0.0, fused=True)
    labels = torch.randint(config.vocab_size, (case["batch"], case["length"]), device=device)

    if "chunked" in variant:
        loss_of = chunked_loss(model, labels, options["chunk"], variant.startswith("compiled"))
    else:
        run = model
        if variant == "compiled":
            run = torch.compile(model, dynamic=False)
        elif variant == "reduce-overhead":
            run = torch.compile(model, dynamic=False, mode="reduce-overhead")

        def loss_of():
            return run(input_ids=labels, labels=labels, use_cache=False).loss

    def step():
        if variant == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()
        with torch.autocast(device.type, torch.bfloat16, enabled=options["autocast"] and dtype != torch.float32):
            loss = loss_of()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def mark():
        if not on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    for _ in range(options["warmup"]):
        loss = step()
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    # The host is not made to wait after each step: it runs ahead as it would in a training loop.
    marks = [mark()]
    for _ in range(options["steps"]):
        loss = step()
        marks.append(mark())
    if on_gpu:
        torch.cuda.synchronize()
        times = [start.elapsed_time(end) for start, end in zip(marks, marks[1:])]
    else:
        times = [1e3 * (end - start) for start, end in zip(marks, marks[1:])]
    peak = torch.cuda.max_memory_allocated() if on_gpu else None
    return times, peak, loss.item()


def worker(pipe, device):
    """Measures what it is asked for, one after the other."""
    import gc

    import peft
    import torch
    import transformers

    gpu = torch.cuda.get_device_name() if device.startswith("cuda") else "CPU"
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}
    pipe.send({"gpu": gpu, **versions})
    while True:
        case, variant, options = pipe.recv()
        try:
            times, peak, loss = peft_steps(case, variant, options)
            deciles = statistics.quantiles(times, n=10, method="inclusive") if len(times) > 1 else times * 9
            result = {"ms": statistics.median(times), "p10": deciles[0], "p90": deciles[8], "memory": peak, "loss": loss}
        except Exception as error:  # A variant that does not run is a result too.
            lines = [line for line in str(error).splitlines() if line.strip()]
            result = {"error": f"{type(error).__name__}: {' '.join(lines[:2])}"[:400]}
        pipe.send(result)
        gc.collect()
        torch._dynamo.reset()
        if device.startswith("cuda"):
            torch.cuda.empty_cache()


class Peft:
    """The process that measures PEFT, started again after it had to be ended."""

    def __init__(self, device):
        self.device, self.process, self.versions = device, None, None

    def start(self):
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.pipe, theirs = context.Pipe()
            self.process = context.Process(target=worker, args=(theirs, self.device), daemon=True)
            self.process.start()
            theirs.close()
            try:
                self.versions = self.pipe.recv()
            except EOFError:
                raise SystemExit("PEFT's process ended before it was ready; what it said is above")
        return self.versions

    def end(self):
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None

    def measure(self, case, variant, options, limit):
        started = time.monotonic()
        self.start()
        self.pipe.send(({"config": str(case.config), "batch": case.batch, "length": case.length}, variant, options))
        try:
            if self.pipe.poll(max(1.0, limit - (time.monotonic() - started))):
                result = self.pipe.recv()
                # What failed on the GPU may have left it unusable for the process.
                if "error" in result and self.device.startswith("cuda"):
                    self.end()
                return result
            result = {"error": f"not done after {limit:.0f} s"}
        except EOFError:
            result = {"error": "the process ended"}
        self.end()
        return result


# ---- postil


class UsedMemory(threading.Thread):
    """The most memory that nvidia-smi shows in use, beyond what was when it began; None where there is none."""

    def __init__(self):
        super().__init__(daemon=True)
        self.stopped = threading.Event()
        self.before = self.most = self.now()

    @staticmethod
    def now():
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
        try:
            return int(subprocess.run(query, capture_output=True, text=True, check=True).stdout) << 20
        except (OSError, ValueError, subprocess.CalledProcessError):
            return None

    def run(self):
        while self.before is not None and not self.stopped.wait(0.2):
            self.most = max(self.most, self.now() or 0)

    def end(self):
        self.stopped.set()
        self.join()
        return None if self.before is None else self.most - self.before


def postil_steps(case, args, limit):
    command = [args.postil, "bench", "--json", "--model", case.config, "--batch-size", case.batch, "--length", case.length]
    command += ["--rank", RANK, "--alpha", ALPHA, "--steps", args.postil_steps]
    if args.postil_device:
        command += ["--device", args.postil_device]
    used = UsedMemory()
    used.start()
    try:
        done = subprocess.run(
            [str(part) for part in command + args.postil_args], capture_output=True, text=True, timeout=limit
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"error": f"not done after {limit:.0f} s" if isinstance(error, subprocess.TimeoutExpired) else str(error)}
    finally:
        used_memory = used.end()
    if done.returncode != 0:
        return {"error": " ".join(done.stderr.split())[-400:]}
    report = json.loads(done.stdout)
    times = report["ms_per_step"]
    result = {"ms": times["median"], "p10": times["p10"], "p90": times["p90"], "memory": report["allocated_bytes"]}
    return {**result, "loss": report["loss"], "used_memory": used_memory, "report": report}


# ---- both


def ratio(result, other, key):
    mine, theirs = result.get(key), other.get(key)
    return theirs / mine if mine and theirs else None


def cell(value, target=None, holds=None):
    if value is None:
        return "–"
    text = f"{value:.2f}" if value < 100 else f"{value:.0f}"
    if target is None:
        return text
    return f"{text} ({'' if holds(value, target) else 'not '}{'≥' if holds is at_least else '≤'} {target})"


def at_least(value, target):
    return value >= target


def at_most(value, target):
    return value <= target


def table(cases, results):
    """Rows of the comparison, in Markdown."""
    names = VARIANTS[1:]
    head = ["case", "postil, ms"] + [f"against {name}" for name in names]
    head += ["memory, GiB", "of compiled", "of chunked"]
    rows = [head, ["---"] * len(head)]
    for case in cases:
        of = results[case.name]
        mine, targets = of.get("postil", {}), TARGETS.get(case.name, (None, None, None))
        row = [case.name, cell(mine.get("ms"), targets[2], at_most)]
        for name in names:
            target = {"eager": targets[0], "compiled": targets[1]}.get(name)
            row.append(cell(ratio(mine, of.get(name, {}), "ms"), target, at_least))
        memory = mine.get("memory")
        row.append(cell(memory and memory / GIB))
        for name, target in zip(["compiled", "chunked"], MEMORY_TARGETS):
            inverse = ratio(of.get(name, {}), mine, "memory")
            row.append(cell(inverse, target if case.name in MEMORY_CASES else None, at_most))
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def line(case, variant, result):
    if "error" in result:
        return f"{case.name:<24} {variant:<17} {result['error']}"
    memory = f"{result['memory'] / GIB:.2f} GiB" if result.get("memory") else ""
    spread = f"(p10 {result['p10']:.2f}, p90 {result['p90']:.2f})"
    return f"{case.name:<24} {variant:<17} {result['ms']:9.2f} ms a step {spread} {memory}"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postil", default="target/release/postil", help="the program")
    parser.add_argument("--postil-device", help="its --device")
    parser.add_argument("--postil-args", nargs=argparse.REMAINDER, default=[], help="the last option: more for its bench")
    parser.add_argument("--postil-steps", type=int, default=40)
    parser.add_argument("--cases", type=Case, nargs="+", default=[Case(text) for text in CASES.split()])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--skip", nargs="+", choices=VARIANTS, default=[])
    parser.add_argument("--device", default="cuda", help="PEFT's: cuda, or cpu to try the script")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--chunk", type=int, default=1024, help="tokens of a chunk of the loss")
    parser.add_argument("--autocast", action="store_true", help="PEFT's bf16 variants under autocast, as Trainer(bf16=True)")
    parser.add_argument("--case-limit", type=float, default=120, help="seconds for one variant of one case")
    parser.add_argument("--time-limit", type=float, default=570, help="seconds for everything")
    parser.add_argument("--json", type=Path, help="where the results go")
    args = parser.parse_args()
    # An absolute path of this machine's own program, whatever the folder.
    args.postil = str(Path(args.postil).resolve())
    return args


def main():
    args = arguments()
    end = time.monotonic() + args.time_limit
    options = {name: getattr(args, name) for name in ["device", "warmup", "steps", "chunk", "autocast"]}
    wanted = [variant for variant in args.variants if variant not in args.skip]
    peft, results, about = Peft(args.device), {case.name: {} for case in args.cases}, None
    if wanted != ["postil"]:
        about = peft.start()
        print(", ".join(f"{name} {version}" for name, version in about.items()), flush=True)
    for variants in PASSES:
        for case in args.cases:
            for variant in [variant for variant in variants if variant in wanted]:
                limit = min(args.case_limit, end - time.monotonic())
                if limit < 5:
                    result = {"error": "left out: the time is up"}
                elif variant == "postil":
                    result = postil_steps(case, args, limit)
                else:
                    result = peft.measure(case, variant, options, limit)
                results[case.name][variant] = result
                print(line(case, variant, result), flush=True)
                if args.json:
                    everything = {"about": about, "options": options, "results": results}
                    args.json.write_text(json.dumps(everything, indent=1) + "\n")
    peft.end()
    print(f"\nPEFT's time over postil's, and postil's memory over PEFT's:\n\n{table(args.cases, results)}", flush=True)
    return 0 if all("error" not in of.get("postil", {}) for of in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
