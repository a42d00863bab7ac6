#!/usr/bin/env bash
# Installs what the tests need and runs them all, without a GPU: software Vulkan (Mesa's lavapipe) and
# Chromium's SwiftShader. A missing adapter fails the run. Needs rustup, Node 20.19 or later and Python 3.10 or
# later; on Debian the system packages are installed too (as root, or with sudo). Downloads about 4 GB the first
# time, most of it PyTorch.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
unset CARGO_TARGET_DIR
tools=$root/target/tools

step() { printf '\n== %s\n' "$*"; }

step 'System packages'
missing=()
for package in gcc libc6-dev libvulkan1 mesa-vulkan-drivers chromium chromium-driver python3-venv; do
  dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
done
if ((${#missing[@]})); then
  if ! command -v apt-get >/dev/null; then
    echo "install the equivalents of: ${missing[*]}" >&2
    exit 1
  fi
  sudo=$([ "$(id -u)" = 0 ] || echo sudo)
  $sudo apt-get update -qq
  $sudo apt-get install -y -qq "${missing[@]}"
fi
for command in cc rustup cargo node npm python3 chromium chromedriver; do
  command -v "$command" >/dev/null || { echo "$command is not installed" >&2; exit 1; }
done

wanted=$(sed -n 's/.*"node": ">=\([0-9.]*\)".*/\1/p' www/package.json)
found=$(node --version)
if [ "$(printf '%s\n' "$wanted" "${found#v}" | sort -V | head -n 1)" != "$wanted" ]; then
  echo "Node $found is installed; the page needs $wanted or later" >&2
  exit 1
fi

step 'Node and Python packages, which come while Rust compiles'
python=$tools/python/bin/python
log=$root/target/packages.log
mkdir -p "$tools"
{
  npm --prefix www ci --no-audit --no-fund
  [ -x "$python" ] || python3 -m venv "$tools/python"
  "$python" -m pip install --quiet --disable-pip-version-check -r tests/peft/requirements.txt
} >"$log" 2>&1 &
packages=$!

step 'Rust: format, lints, native tests'
toolchain=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
rustup toolchain install "$toolchain" --profile minimal --component clippy,rustfmt --target wasm32-unknown-unknown
cargo fmt --check
cargo clippy --locked --all-targets -- -D warnings
cargo clippy --locked --lib --target wasm32-unknown-unknown -- -D warnings
cargo test --locked --no-fail-fast

step 'The adapters that it writes, in PEFT'
wait "$packages" || { cat "$log" >&2; exit 1; }
bash tests/peft/run.sh "$python"

step 'Page: build'
npm --prefix www run wasm
npm --prefix www run build

step 'Browser: wasm-pack test'
[ -x "$tools/bin/wasm-pack" ] || cargo install --quiet --debug --locked wasm-pack --version 0.15.1 --root "$tools"
export PATH=$root/target/wasm-tools/debug:$tools/bin:$PATH
WASM_BINDGEN_TEST_TIMEOUT=1800 wasm-pack test --headless --chrome --chromedriver "$(command -v chromedriver)" \
  -- --locked --test browser

step 'Page: from Train to a downloaded adapter'
npm --prefix www test
