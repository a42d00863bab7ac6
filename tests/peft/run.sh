#!/usr/bin/env bash
# Loads adapters that Postil trained in PEFT: the keys, the values and the logits must be the same there; and what it
# wrote of them for llama.cpp and mlx-lm, and merged into their base, must compute the same.
#
#   cargo test --test model --test cli    # trains and leaves them in target/tmp/peft
#   bash tests/peft/run.sh PYTHON         # a python with tests/peft/requirements.txt
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$1
written=${CARGO_TARGET_DIR:-target}/tmp/peft

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
