#!/usr/bin/env bash
# One run on a machine with a real GPU: kernels and models against their references there, the built-in model on
# each built-in data set, and full-size models with random weights (the real configurations in src/bench/models/) for speed,
# memory and loading. Build first, on any Linux machine:
#
#   cargo build --release --bin postil && cargo test --no-run --test kernels --test model
#   tests/bench/device.sh target/release/postil target/debug/deps/kernels-… target/debug/deps/model-… OUT
#
# Needs Vulkan, and Python with torch and transformers for the random models. OUT gets the logs. No part takes
# longer than its time-out, so that the parts after it run too.
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
for name in SmolLM2-135M Qwen2.5-0.5B Llama-3.2-1B Gemma-3-1B Qwen3-1.7B; do
  python3 tests/peft/make_model.py "src/bench/models/$name.json" "$scratch/$name" && touch "$scratch/$name.made"
done > "$out/models.log" 2>&1 &

say 'kernels against their references'
timeout 60 "$kernels" --test-threads 4 > "$out/kernels.log" 2>&1
grep -E '^test result|FAILED|failed' "$out/kernels.log" | head -n 20

demo() {
  say "built-in model, $1 in $2"
  timeout 90 "$postil" train --data "demo:$1" --precision "$2" --out "$out/$1-$2" --log "$out/$1-$2.jsonl" 2>/dev/null
}
demo pirate auto
demo pirate f32

# run NAME BATCH STEPS OPTIONS…: rows of 512 tokens, every linear layer, rank 16.
run() {
  local name=$1 batch=$2 steps=$3 waited=0
  shift 3
  until [ -e "$scratch/$name.made" ] || ((waited++ > 120)); do sleep 1; done
  say "$name: $steps steps of $batch x 512 tokens $*"
  (while sleep 0.2; do nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits; done > "$out/memory.txt") & local watcher=$!
  timeout 120 python3 tests/bench/watch.py "$postil" train --model "$scratch/$name" --data "$scratch/long.jsonl" --max-length 512 \
    --batch-size "$batch" --max-steps "$steps" --out "$scratch/run-$RANDOM" --log "$out/$name.jsonl" "$@"
  kill "$watcher"
  echo "GPU memory in use at its peak: $(sort -n "$out/memory.txt" | tail -n 1) MiB"
}
run SmolLM2-135M 4 50
for name in Qwen2.5-0.5B Llama-3.2-1B Gemma-3-1B Qwen3-1.7B; do
  run "$name" 1 5
done
run SmolLM2-135M 4 4 --profile

say 'models against transformers and PEFT'
timeout 90 "$models" --test-threads 4 > "$out/model.log" 2>&1
grep -E '^test result|FAILED|failed' "$out/model.log" | head -n 20

demo json auto
demo headline auto
for adapter in '' "--adapter $out/pirate-auto"; do
  # shellcheck disable=SC2086
  timeout 30 "$postil" generate $adapter --prompt $'Tell a story about Mia and a silver key.\n' --max-new-tokens 160 2>/dev/null
done
cat "$out/models.log"
say 'done'
