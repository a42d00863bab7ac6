#!/usr/bin/env python3
"""Makes the runs that the page hands to other programs, in Postil and in TRL, and compares them.

    python tests/peft/check_runs.py POSTIL FOLDER

POSTIL is the binary, FOLDER what write_runs.mjs has written. Of each run the run file and the command line must give the
same adapter, bit for bit, and the script the same as far as two libraries can: the numbers of examples, the adapter's
settings and tensors, the learning rate of every step, and the loss of the first, which is the base's on one batch of all
data. A run that starts from an adapter has nothing that is drawn: all its losses and gradients, and what it leaves, are the
same. Prints a JSON line a run; exit status 1 at the first difference.
"""

import contextlib
import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import traceback
from pathlib import Path

POSTIL, FOLDER = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
# Before the libraries read them.
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(FOLDER / ".hf"), "TQDM_DISABLE": "1"}

import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

# f32 in both, with other orders of additions; over the steps of a run they grow.
LOSS, GRADIENT, WEIGHT = 1e-5, 1e-4, 1e-3
# Their batches are drawn, or cut, in other ways.
OTHER_BATCHES = {"split", "built_in"}
# Starts from the adapter of the run `columns`.
GOES_ON = "going_on"
LORA = ("r", "lora_alpha", "lora_dropout", "rank_pattern", "alpha_pattern")


class Different(Exception):
    pass


def expect(what, found, wanted, tolerance=0.0):
    same = abs(found - wanted) <= tolerance * abs(wanted) if tolerance else found == wanted
    if not same:
        raise Different(f"{what}: {found} in TRL, {wanted} in Postil")


def postil(command):
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"POSTIL": str(POSTIL)})
    if done.returncode != 0:
        raise Different(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def in_postil():
    """What it says of the run file's run, and the log; its adapter is then in `by-file`, the command line's in `by-command`."""
    said = postil([POSTIL, "train", "--run", "run.json", "--out", "by-file", "--log", "log.jsonl"])
    postil(["sh", "-c", 'postil() { "$POSTIL" "$@"; }; . ./train.sh'])
    Path("adapter").rename("by-command")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if Path("by-file", name).read_bytes() != Path("by-command", name).read_bytes():
            raise Different(f"the run file and the command line give other adapters: {name}")
    return said, [json.loads(line) for line in Path("log.jsonl").read_text().splitlines()]


def in_trl():
    """The script's trainer; its adapter is then in `adapter`."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            return runpy.run_path("train.py")["trainer"]
    except Exception as error:
        raise Different(f"train.py fails: {said.getvalue()[-2000:]}{traceback.format_exc()}") from error


def compare_adapters(is_exact):
    config, wanted = (json.loads(Path(folder, "adapter_config.json").read_text()) for folder in ("adapter", "by-file"))
    for name in LORA:
        # An empty pattern may be left out.
        expect(name, config.get(name) or None, wanted.get(name) or None)
    expect("target_modules", set(config["target_modules"]), set(wanted["target_modules"]))
    found, wanted = (load_file(Path(folder, "adapter_model.safetensors")) for folder in ("adapter", "by-file"))
    expect("tensors", {name: list(t.shape) for name, t in found.items()}, {name: list(t.shape) for name, t in wanted.items()})
    for name, tensor in wanted.items() if is_exact else ():
        difference = torch.linalg.norm(found[name] - tensor) / torch.linalg.norm(tensor)
        if difference > WEIGHT:
            raise Different(f"{name} is {difference:.1e} of its norm away from Postil's")


def check(name):
    said, ours = in_postil()
    trainer = in_trl()
    theirs = [entry for entry in trainer.state.log_history if "loss" in entry]
    expect("steps", len(theirs), len(ours))
    for found, wanted in zip(theirs, ours):
        at = f"step {wanted['step']}"
        expect(f"{at}: learning rate", found["learning_rate"], wanted["lr"], 1e-9)
        if name == GOES_ON or (wanted["step"] == 1 and name not in OTHER_BATCHES):
            expect(f"{at}: loss", found["loss"], wanted["loss"], LOSS)
        if name == GOES_ON:
            expect(f"{at}: gradient norm", found["grad_norm"], wanted["grad_norm"], GRADIENT)
    if name == GOES_ON:
        held = {entry["step"]: entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry}
        for wanted in ours:
            if "eval_loss" in wanted:
                expect(f"step {wanted['step']}: held-out loss", held[wanted["step"]], wanted["eval_loss"], LOSS)
    if not trainer.args.packing and name != "built_in":
        counts = re.search(r"training on (\d+) examples.*?, (\d+) held out", said)
        sizes = [len(data) if data is not None else 0 for data in (trainer.train_dataset, trainer.eval_dataset)]
        expect("examples and held-out ones", sizes, [int(number) for number in counts.groups()])
    compare_adapters(name == GOES_ON)
    print(json.dumps({"run": name, "steps": len(ours), "first loss": ours[0]["loss"], "in TRL": theirs[0]["loss"]}), flush=True)


names = sorted(path.name for path in FOLDER.iterdir() if (path / "run.json").exists())
if GOES_ON not in names:
    sys.exit(f"check_runs: {FOLDER} has no runs: write_runs.mjs writes them")
for name in sorted(names, key=lambda name: name == GOES_ON):
    os.chdir(FOLDER / name)
    if name == GOES_ON:
        shutil.copytree(FOLDER / "columns" / "by-file", "mine")
    try:
        check(name)
    except Different as error:
        sys.exit(f"check_runs: {name}: {error}")
print(f"{len(names)} runs of the page's made by run file, command line and script")
