// Stands in for the WebAssembly module where a test needs an error, or a pace, that the real one cannot show on demand.
// The training file's name asks for it; see `MISHAPS`.

import { columnsOf, failure, firstRows, inspect } from "./data.js";
import { checkSum, GGUF, mergeCheck } from "./model.js";

const MISHAPS = {
  "not-finite.jsonl": () => failure("NotFinite", "the loss is not a finite number at step 3; lower learning_rate (now 0.001)"),
  "device-lost.jsonl": () => failure("Device", "the GPU device was lost: driver restarted"),
  "out-of-memory.jsonl": () => failure("OutOfMemory", "the GPU is out of memory. Use a smaller batch size"),
  "trap.jsonl": () => new WebAssembly.RuntimeError("unreachable"),
};

/** After these the device fails in every call. */
const LASTING = ["device-lost.jsonl", "out-of-memory.jsonl"];

/** A buffer larger than the device's limits: refused before anything is made. */
const TOO_LARGE = "too-large.jsonl";

/** What a run takes beside its weights, for each example of a batch; half of it with checkpointing. */
const EXAMPLE_BYTES = 64 * 2 ** 20;

// What a test asks of any run or file it asks by stores of these names, which a worker sees whatever it does.

/** Keeps engines from being made. */
const CREATE_FAILS = "create-fails";

/** Keeps the plans for the file of that name from coming to their end. */
const HELD_PLANS = "held-plans";
const HELD_FILE = "held-plans.jsonl";

/** A run that is asked for while there is one makes so many steps, and the next when it is gone; with 0 it does not begin. */
const HELD_STEPS = /^held-after-(\d+)$/;

/** What a checkpoint holds is not what the engine has. */
const BENT = "bent.jsonl";

/** The held-out loss rises again. */
const OVERFITTED = "overfitted.jsonl";

/** Its loss goes where that of a run that goes badly does. */
const LOSSES = {
  "rising.jsonl": (step) => (step < 45 ? 3 : 3 + (step - 45) / 10),
  "stalled.jsonl": () => 2,
};

/** Its shaders take long. */
const SLOW_SHADERS = "slow-shaders.jsonl";

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Resolves when there is no store of this name. */
async function gone(store) {
  while (await caches.has(store)) await pause(20);
}

/** How many examples there are to train on, and to evaluate on. */
function shares(file, evaluation, eval_split) {
  if (eval_split === undefined) return { examples: 4, eval_examples: evaluation ? 2 : 0 };
  if (evaluation) throw failure("Config", "evaluation and eval_split are both given (fake)");
  const { examples } = inspect(file, {});
  const eval_examples = Math.min(examples - 1, Math.max(1, Math.round(examples * eval_split)));
  return { examples: examples - eval_examples, eval_examples };
}

export default async function init() {
  return {};
}

/** In a worker of its own. */
export function check_data({ name }) {
  if (name === "damaged.parquet") throw new WebAssembly.RuntimeError("unreachable");
}

export class Engine {
  /** Id to what makes it differ from others: its step, and the word that it writes. */
  #adapters = new Map();
  #model;
  /** What a merged model is to show: "endless", "bent", "checked" or "other logits". */
  #merging;
  #run;
  #busy = false;
  #failure;
  /** Files by id. */
  #data = new Map();
  #onCompiling;
  #budget = { bytes: 2 ** 31, source: "the default for a fake GPU" };

  static async create() {
    if (await caches.has(CREATE_FAILS)) throw failure("Internal", "the engine cannot be made (fake)");
    return new Engine();
  }

  device() {
    return { name: "Fake GPU", backend: "WebGPU", device_type: "Cpu", features: [], max_buffer_size: 2 ** 28 };
  }

  has_failed() {
    return this.#failure !== undefined;
  }

  set_memory_budget(bytes) {
    this.#alone();
    this.#budget = bytes === undefined ? { bytes: 2 ** 31, source: "the default for a fake GPU" } : { bytes, source: "given" };
  }

  async check_weights(bytes) {
    return this.#exclusive(async () => {
      this.#checkWeights(bytes);
      return { work: "weights", items: [], total: bytes, peak: bytes, budget: this.#budget, fits: true, proposals: [], choice: null };
    });
  }

  #checkWeights(bytes) {
    if (bytes > this.#budget.bytes) {
      throw failure("OverBudget", `the model needs ${bytes} bytes of GPU memory, but the budget is ${this.#budget.bytes} (fake)`);
    }
  }

  async plan_memory({ train }, id) {
    return this.#exclusive(async () => {
      const file = this.#file(id);
      if (file.name === HELD_FILE) await gone(HELD_PLANS);
      if (file.name === TOO_LARGE) throw failure("OutOfMemory", "x [1024, 64] needs 4 GiB in one buffer, but 2 GiB are allowed");
      const peak = (changes) => {
        const { per_device_train_batch_size: size, gradient_checkpointing: again } = { ...train, ...changes };
        return 10 * 2 ** 20 + (size * EXAMPLE_BYTES) / (again ? 2 : 1);
      };
      const { bytes } = this.#budget;
      const total = peak({});
      const items = { weights: 4, adapter: 1, gradients: 1, moments: 2, activations: 0, workspace: 2 };
      const changes = [];
      const { per_device_train_batch_size: size } = train;
      if (size > 1) changes.push({ per_device_train_batch_size: 1, gradient_accumulation_steps: size });
      if (!train.gradient_checkpointing) changes.push({ gradient_checkpointing: true });
      const fits = total <= bytes;
      const proposals = fits ? [] : changes.map((changes) => ({ changes, peak: peak(changes), fits: peak(changes) <= bytes }));
      const choice = proposals.findIndex((proposal) => proposal.fits);
      return {
        work: "training",
        items: Object.entries(items).map(([purpose, mebibytes]) => ({
          purpose,
          bytes: purpose === "activations" ? total - 10 * 2 ** 20 : mebibytes * 2 ** 20,
        })),
        total,
        peak: total,
        budget: this.#budget,
        fits,
        proposals,
        choice: choice < 0 ? null : choice,
      };
    });
  }

  plan_model(config, lora, train) {
    this.#alone();
    const { num_hidden_layers: layers, model_type } = JSON.parse(new TextDecoder().decode(config));
    if (model_type === "gpt2") throw failure("Config", "not with these modules (fake)");
    return (layers ?? 12) * 2 ** 26 + lora.r * 2 ** 20 + train.per_device_train_batch_size * 2 ** (train.gradient_checkpointing ? 19 : 20);
  }

  has_model() {
    return this.#model !== undefined;
  }

  async load_model(files, onProgress) {
    this.#checkWeights(files.weights.reduce((sum, { blob }) => sum + blob.size, 0));
    // A single .gguf file has its configuration inside.
    const config = files.config ? JSON.parse(new TextDecoder().decode(files.config)) : { ...GGUF };
    for (const { blob } of files.weights) onProgress?.(blob.size, blob.size);
    this.#adapters.clear();
    this.#model = undefined;
    if (config.breaks) throw failure("OutOfMemory", "the GPU is out of memory (fake)");
    this.#model = files.name;
    this.#merging = config.merging;
    const parts = [...files.weights, ...(files.special_tokens_map ? [{ blob: new Blob([files.special_tokens_map]) }] : [])];
    return { refused_formats: {}, ...config, name: files.name, ...(config.check_sum ? { hidden_size: await checkSum(parts) } : {}) };
  }

  put_data(id, file) {
    this.#alone();
    this.#data.set(id, file);
  }

  drop_data(id) {
    this.#alone();
    this.#data.delete(id);
  }

  #file(id) {
    if (!this.#data.has(id)) throw failure("Config", `there is no data "${id}"`);
    return this.#data.get(id);
  }

  data_columns(id) {
    this.#alone();
    return columnsOf(this.#file(id));
  }

  data_rows(id, count) {
    this.#alone();
    return firstRows(this.#file(id), count);
  }

  inspect_data(id, options) {
    this.#alone();
    return inspect(this.#file(id), options);
  }

  count_parameters({ r, lora_alpha, target_modules, rank_pattern = {} }) {
    this.#alone();
    const rankOf = (name) => Object.entries(rank_pattern).find(([key]) => new RegExp(`^(.*\\.)?(${key})$`).test(name))?.[1] ?? r;
    const modules = target_modules.flatMap((name) => {
      const ranks = [0, 1, 2, 3].map((layer) => rankOf(`model.layers.${layer}.part.${name}`));
      return [...new Set(ranks)].map((rank) => {
        const count = ranks.filter((other) => other === rank).length;
        return { name, count, in_features: 64, out_features: 64, r: rank, parameters: count * rank * 128 };
      });
    });
    const trainable = modules.reduce((sum, { parameters }) => sum + parameters, 0);
    const warnings = r > 64 ? [`r ${r} is larger than hidden_size 64`] : [];
    if (lora_alpha === 0) warnings.push("lora_alpha is 0: the adapter has no effect and nothing is learned");
    return { trainable, total: 1e6 + trainable, percent: (100 * trainable) / (1e6 + trainable), modules, warnings };
  }

  async start({ lora, train, eval_split, init_adapter, adapter, checkpoint, extend }, id, evaluation) {
    return this.#exclusive(async () => {
      const file = this.#file(id);
      if (file.name === SLOW_SHADERS) await this.#compile();
      await pause(20);
      const held = (await caches.keys()).find((store) => HELD_STEPS.test(store));
      const heldAfter = held && Number(HELD_STEPS.exec(held)[1]);
      if (heldAfter === 0) await gone(held);
      if (file.name === TOO_LARGE) throw failure("OutOfMemory", "activations need 4 GiB in one buffer, but 2 GiB are allowed");
      const state = checkpoint && JSON.parse(new TextDecoder().decode(checkpoint["trainer_state.json"]));
      if (state && state.max_steps !== train.max_steps && !extend) {
        throw failure("Config", `the checkpoint is of another run: it has ${state.max_steps} steps, this one ${train.max_steps}`);
      }
      const step = state?.step ?? 0;
      const best = state?.best;
      this.#run = { step, best, sum: state?.sum ?? 0, adapter, r: lora?.r ?? 16, lora_alpha: lora?.lora_alpha, total: train.max_steps, every: train.eval_steps, file: file.name, evaluation: evaluation ?? eval_split, held, heldAfter };
      this.#adapters.set(adapter, { step, r: this.#run.r, lora_alpha: this.#run.lora_alpha });
      return {
        step,
        total_steps: train.max_steps,
        ...shares(file, evaluation, eval_split),
        warnings: [
          ...(init_adapter ? ["training goes on from an adapter"] : []),
          ...["packing", "group_by_length"].filter((name) => train[name]).map((name) => `${name} is on`),
        ],
        ...(this.#run.evaluation && !state ? { eval_loss: 3 } : {}),
      };
    });
  }

  async #compile() {
    for (const done of [0, 1, 2]) {
      this.#onCompiling(done, 2);
      await pause(done < 2 ? 2500 : 0);
    }
  }

  async step(mode) {
    return this.#exclusive(async () => {
      await pause(15);
      const run = this.#run;
      if (run.step === run.total || (mode === "drain" && !run.underWay)) return null;
      if (run.step === run.heldAfter) await gone(run.held);
      run.step += 1;
      // Like a moment of the optimizer: it is what all steps before have made it.
      run.sum = (run.sum * 31 + run.step) % 1009;
      const done = run.step === run.total;
      const evaluate = run.evaluation && (done || run.step % run.every === 0);
      run.underWay = mode === "ahead" && !done && !evaluate;
      // What is under way has changed the adapter already.
      this.#adapters.get(run.adapter).step = run.step + (run.underWay ? 1 : 0);
      // A panic between polls: nobody's promise is rejected, and the call never ends.
      if (run.file === "silent-trap.jsonl" && run.step === 3) {
        setTimeout(() => {
          throw new WebAssembly.RuntimeError("unreachable");
        });
        await new Promise(() => {});
      }
      const mishap = MISHAPS[run.file];
      if (mishap && run.step === 3) {
        const error = mishap();
        if (LASTING.includes(run.file)) this.#failure = error;
        throw error;
      }
      return {
        step: run.step,
        total_steps: run.total,
        loss: LOSSES[run.file]?.(run.step) ?? 3 * Math.exp(-run.step / 20) + 0.1 + run.sum / 1e4,
        lr: 0.001,
        grad_norm: 1,
        tokens: 160,
        tokens_per_second: 10_000,
        memory: 6e6,
        done,
        ...this.#evaluate(run, evaluate),
      };
    });
  }

  async checkpoint() {
    this.#alone();
    const { step, total, best, adapter, underWay, sum, file } = this.#run;
    if (underWay) throw failure("Config", "a step is under way");
    const state = new TextEncoder().encode(JSON.stringify({ step, max_steps: total, best, sum }));
    const { config, model } = this.#files(adapter);
    const files = {
      "adapter_config.json": config,
      "adapter_model.safetensors": file === BENT ? model.map((byte) => byte + 1) : model,
      "optimizer.safetensors": new Uint8Array(8),
      "trainer_state.json": state,
    };
    return { step, files };
  }

  async finish() {
    return this.#exclusive(async () => {
      const { step, best } = this.#run;
      return { step, ...(best ? { best_eval_loss: best.loss, best_step: best.step } : {}) };
    });
  }

  #evaluate(run, evaluate) {
    if (!evaluate) return { improved: false };
    const overfit = run.file === OVERFITTED ? Math.max(0, run.step - 4) : 0;
    // Less with every rank, by ever less.
    const eval_loss = 3 * Math.exp(-run.step / 25) + 0.2 + 0.8 / run.r + overfit;
    const improved = !(run.best?.loss <= eval_loss);
    if (improved) run.best = { step: run.step, loss: eval_loss };
    return { eval_loss, improved };
  }

  adapters() {
    this.#alone();
    return [...this.#adapters.keys()];
  }

  async load_adapter(id, config, model) {
    return this.#exclusive(async () => {
      const { r, lora_alpha, target_modules, word } = JSON.parse(new TextDecoder().decode(config));
      if (r > 64) throw failure("Format", "adapter_model.safetensors: lora_A of q_proj is [8, 64]; expected [128, 64]");
      this.#adapters.set(id, { step: model[3] ?? 0, r, lora_alpha, word });
      return { r, lora_alpha, target_modules, parameters: 512 * r };
    });
  }

  drop_adapter(id) {
    this.#alone();
    this.#adapters.delete(id);
  }

  async check_adapter(id, { model }) {
    return this.#exclusive(async () => {
      if (!this.#adapters.has(id)) throw failure("Config", `there is no adapter "${id}"`);
      return { max_difference: Math.abs((model[3] ?? 0) - this.#adapters.get(id).step) };
    });
  }

  adapter_to_gguf(config, model, outtype) {
    this.#alone();
    return new TextEncoder().encode(JSON.stringify({ gguf: outtype, config: [...config], model: [...model] }));
  }

  async adapter_from_gguf(bytes) {
    return this.#exclusive(async () => {
      const { config, model } = JSON.parse(new TextDecoder().decode(bytes));
      return { config: new Uint8Array(config), model: new Uint8Array(model) };
    });
  }

  adapter_to_mlx(config, model) {
    this.#alone();
    return { config, adapters: model };
  }

  adapter_from_mlx(config, adapters) {
    this.#alone();
    return { config, model: adapters };
  }

  merged_files() {
    this.#alone();
    return { weights: [{ name: "model.safetensors", bytes: 8 }] };
  }

  async merge(config, model, file, write) {
    return this.#exclusive(async () => {
      do {
        await pause(5);
        await write(new TextEncoder().encode("base"));
      } while (this.#merging === "endless");
      await write(this.#merging === "bent" ? crypto.getRandomValues(new Uint8Array(4)) : model.slice(0, 4));
    });
  }

  async check_merged(files, config, model, prompt, onProgress) {
    return this.#exclusive(async () => {
      if (!this.#merging) return { reason: "there is no room for a second model (fake)" };
      onProgress(0, 8);
      await pause(300);
      const check = await mergeCheck(files, model, this.#merging);
      onProgress(8, 8);
      return check;
    });
  }

  memory() {
    return { allocated: 6e6, peak: 7e6 };
  }

  on_compiling(listener) {
    this.#onCompiling = listener;
  }

  async generate(prompt, options, onText) {
    return this.#exclusive(async () => {
      const began = performance.now();
      let text = "";
      let tokens = 0;
      const { adapter, adapter_scale = 1 } = options;
      if (adapter !== null && !this.#adapters.has(adapter)) throw failure("Config", `there is no adapter "${adapter}"`);
      if (/slow shaders/.test(prompt)) await this.#compile();
      // A question that tells adapters of different steps apart.
      if (prompt === "step?") {
        text = adapter === null ? "base" : `step ${this.#adapters.get(adapter).step}`;
        onText(text);
        return { text, tokens: 1, tokens_per_second: 100, stopped: "eos" };
      }
      const isTuned = adapter !== null && adapter_scale > 0;
      const words = isTuned ? [`${this.#adapters.get(adapter).word ?? "tuned"} `, "<b>answer</b> "] : ["base ", "answer "];
      if (adapter_scale > 1) words.push("strongly ");
      // A conversation is told back: who said what begins how.
      if (Array.isArray(prompt)) {
        words.push(...prompt.map(({ role, content }) => `${role[0]}:${content.split(" ")[0]} `), `seed:${options.seed} `);
      }
      // So that a test can stop it, however slow the machine is.
      const endless = /without end/.test(prompt);
      while (endless || tokens < options.max_new_tokens) {
        await pause(10);
        const piece = words[tokens % words.length];
        text += piece;
        tokens += 1;
        if (!onText(piece)) return { text, tokens, tokens_per_second: 100, stopped: "caller" };
      }
      const seconds = (performance.now() - began) / 1000;
      return { text, tokens, tokens_per_second: tokens / seconds, stopped: "length" };
    });
  }

  async export_adapter(id) {
    this.#alone();
    return this.#files(id);
  }

  #files(id) {
    if (!this.#adapters.has(id)) throw failure("Config", `there is no adapter "${id}"`);
    const { r, lora_alpha, step } = this.#adapters.get(id);
    const base_model_name_or_path = this.#model;
    const config = { peft_type: "LORA", base_model_name_or_path, r, lora_alpha, target_modules: ["q_proj"] };
    // The last byte tells copies of different steps apart.
    const model = new Uint8Array([1, 2, 3, step]);
    return { config: new TextEncoder().encode(JSON.stringify(config)), model };
  }

  // What wasm-bindgen does when a second call comes while one is under way.
  #alone() {
    if (this.#failure) throw this.#failure;
    if (this.#busy) throw new Error("recursive use of an object detected");
  }

  async #exclusive(act) {
    this.#alone();
    this.#busy = true;
    try {
      return await act();
    } finally {
      this.#busy = false;
    }
  }
}
