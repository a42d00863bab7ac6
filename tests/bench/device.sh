#!/usr/bin/env bash
# One run on a machine with a real GPU: checks the kernels there, trains the built-in model on each built-in
# data set, and times a full-size model. Build first, on any Linux machine:
#
#   cargo build --release --bin postil
#   cargo test --no-run --test kernels          # prints the test binary's path
#   tests/bench/device.sh target/release/postil target/debug/deps/kernels-… OUT
#
# Needs Vulkan, and Python with torch and transformers for the random full-size model.
set -euo pipefail
cd "$(dirname "$0")/../.."
postil=$1 kernels=$2 out=$3
mkdir -p "$out"

nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || true
"$postil" doctor | grep -v '^kernel variants'

echo '== kernels against the f64 reference'
"$kernels" --test-threads 4 2>&1 | tail -n 4

echo '== built-in model and data'
for data in pirate json headline; do
  for lr in 2e-4 1e-3 3e-3; do
    echo "-- $data, learning rate $lr"
    "$postil" train --data "demo:$data" --lr "$lr" --out "$out/$data-$lr" --log "$out/$data-$lr.jsonl" 2>/dev/null
  done
done
"$postil" generate --prompt $'Tell a story about Mia and a silver key.\n' --max-new-tokens 200 2>/dev/null
for lr in 2e-4 1e-3 3e-3; do
  "$postil" generate --adapter "$out/pirate-$lr" --prompt $'Tell a story about Mia and a silver key.\n' --max-new-tokens 220 2>/dev/null
done

echo '== SmolLM2-135M (random weights): 50 steps of 4 x 512 tokens, all linear layers, rank 16'
python3 tests/peft/make_model.py tests/peft/smollm2-135m.json "$out/smollm2" >/dev/null
python3 - "$out/long.jsonl" <<'PYTHON'
import json, random, sys
rng = random.Random(0)
with open(sys.argv[1], "w") as file:
    for _ in range(200):
        file.write(json.dumps({"text": "".join(rng.choice("abcdefghij ") for _ in range(511))}) + "\n")
PYTHON
(while sleep 0.5; do nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits; done > "$out/memory.txt") & watcher=$!
"$postil" train --model "$out/smollm2" --data "$out/long.jsonl" --max-length 512 --batch-size 4 --max-steps 50 \
  --out "$out/smollm2-run" --log "$out/smollm2.jsonl" 2>/dev/null
kill "$watcher"
echo "peak GPU memory in use: $(sort -n "$out/memory.txt" | tail -n 1) MiB"
echo '-- GPU time by kernel, 5 steps'
"$postil" train --model "$out/smollm2" --data "$out/long.jsonl" --max-length 512 --batch-size 4 --max-steps 5 \
  --out "$out/smollm2-profile" --profile 2>/dev/null
rm -rf "$out/smollm2"
