#!/usr/bin/env bash
# One run on a machine with a real GPU: kernels and models against their references there, the built-in model on
# each built-in data set, and full-size models with random weights (the real configurations in models/) for speed,
# memory and loading. Build first, on any Linux machine:
#
#   cargo build --release --bin postil && cargo test --no-run --test kernels --test model
#   tests/bench/device.sh target/release/postil target/debug/deps/kernels-… target/debug/deps/model-… OUT
#
# Needs Vulkan, and Python with torch and transformers for the random models. OUT gets the logs.
set -uo pipefail
cd "$(dirname "$0")/../.."
postil=$1 kernels=$2 models=$3 out=$4
scratch=$(mktemp -d -p "${SCRATCH:-/tmp}")
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$out"
started=$SECONDS
say() { printf '\n== [%d s] %s\n' "$((SECONDS - started))" "$*"; }

nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || true
"$postil" doctor | grep -v '^kernel variants'

# Random models and long rows are made while the small runs go on.
python3 - "$scratch/long.jsonl" <<'PYTHON'
import json, random, sys
rng = random.Random(0)
with open(sys.argv[1], "w") as file:
    for _ in range(200):
        file.write(json.dumps({"text": "".join(rng.choice("abcdefghij ") for _ in range(600))}) + "\n")
PYTHON
for config in tests/bench/models/*.json; do
  python3 tests/peft/make_model.py "$config" "$scratch/$(basename "$config" .json)" || echo "$config FAILED"
done > "$out/models.log" 2>&1 &
making=$!

say 'kernels and models against their references'
"$kernels" --test-threads 4 > "$out/kernels.log" 2>&1; grep -E '^test result|FAILED|failed' "$out/kernels.log" | head -n 20
"$models" --test-threads 4 > "$out/model.log" 2>&1; grep -E '^test result|FAILED|failed' "$out/model.log" | head -n 20

say 'built-in model and data, no options'
for data in pirate json headline; do
  echo "-- $data"
  "$postil" train --data "demo:$data" --out "$out/$data" --log "$out/$data.jsonl" 2>/dev/null
done
for adapter in '' "--adapter $out/pirate"; do
  # shellcheck disable=SC2086
  "$postil" generate $adapter --prompt $'Tell a story about Mia and a silver key.\n' --max-new-tokens 160 2>/dev/null
done
wait "$making"
tail -n 6 "$out/models.log"

# run NAME BATCH STEPS OPTIONS…: rows of 512 tokens, every linear layer, rank 16.
run() {
  local name=$1 batch=$2 steps=$3
  shift 3
  say "$name: $steps steps of $batch x 512 tokens $*"
  (while sleep 0.2; do nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits; done > "$out/memory.txt") & local watcher=$!
  python3 - "$postil" train --model "$scratch/$name" --data "$scratch/long.jsonl" --max-length 512 --batch-size "$batch" \
    --max-steps "$steps" --out "$scratch/run-$name-$RANDOM" --log "$out/$name.jsonl" "$@" <<'PYTHON'
import os, resource, subprocess, sys, time
start = time.time()
done = subprocess.run(sys.argv[1:], stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(done.stderr[-600:] if done.returncode else "\n".join(line for line in done.stderr.splitlines() if "load" in line or "memory" in line))
print(f"exit {done.returncode}, {time.time() - start:.1f} s in all, host memory peak {peak:.0f} MiB", flush=True)
PYTHON
  kill "$watcher"
  echo "GPU memory in use at its peak: $(sort -n "$out/memory.txt" | tail -n 1) MiB"
}
run SmolLM2-135M 4 50
run SmolLM2-135M 4 4 --profile
for name in Qwen2.5-0.5B Llama-3.2-1B Qwen3-1.7B Gemma-3-1B; do
  run "$name" 1 5
done
say 'done'
