#!/usr/bin/env bash
# Loads adapters that Postil trained in PEFT: the keys, the values and the logits must be the same there; and what it
# wrote of them for llama.cpp and mlx-lm, and merged into their base, must compute the same. Then makes runs of the page's
# by the run file, the command line and the TRL script that it shows of them.
#
#   cargo test --test model --test cli    # trains and leaves them in target/tmp/peft; POSTIL is another binary than its
#   npm --prefix www ci
#   bash tests/peft/run.sh PYTHON         # a python with tests/peft/requirements.txt
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$1
target=${CARGO_TARGET_DIR:-target}
written=$target/tmp/peft

checked=0 exports=0
for folder in "$written"/*/; do
  [ -f "$folder/adapter/adapter_config.json" ] || continue
  name=$(basename "$folder")
  model=tests/golden/$name
  [ -d "$model" ] || model=www/public/demo
  logits=()
  if [ -f "$folder/logits.safetensors" ]; then
    logits=(--ids "$folder/sequences.json" --logits "$folder/logits.safetensors")
  fi
  echo "-- $name"
  "$python" tests/peft/check_adapter.py "$model" "$folder/adapter" "${logits[@]}"
  if [ -f "$folder/adapter.gguf" ]; then
    "$python" tests/peft/check_exports.py "$model" "$folder"
    exports=$((exports + 1))
  fi
  checked=$((checked + 1))
done
golden=(tests/golden/*/config.json)
if ((checked != ${#golden[@]} + 1)); then
  echo "expected an adapter of each of ${#golden[@]} golden models and one of the command line in $written, found $checked" >&2
  exit 1
fi
if ((exports != ${#golden[@]})); then
  echo "expected exports of each of ${#golden[@]} golden models in $written, found $exports" >&2
  exit 1
fi
echo "$checked adapters checked, $exports of them for other tools and merged"

runs=$target/tmp/page-runs
rm -rf "$runs"
node tests/peft/write_runs.mjs "$runs"
"$python" tests/peft/check_runs.py "${POSTIL:-$target/debug/postil}" "$runs"
