// Trains the built-in model for a few steps, shows what it then writes, and offers the adapter.
import { PostilError, Tuner } from "../index.js";

const button = document.querySelector("button");
const log = document.querySelector("pre");
const say = (text) => log.append(text);

const data = [
  { prompt: "The fox ", completion: "ran home over the hill and slept." },
  { prompt: "The hen ", completion: "ran home over the hill and slept." },
];

async function run(tuner) {
  const settings = { r: 4, lora_alpha: 8, max_steps: 10, per_device_train_batch_size: 2, learning_rate: 5e-3, max_length: 32 };
  for await (const { step, loss } of tuner.train({ data, ...settings })) say(`step ${step}: loss ${loss.toFixed(3)}\n`);

  for await (const piece of tuner.generate({ prompt: "The cat ", max_new_tokens: 12 })) say(piece);

  const link = Object.assign(document.createElement("a"), { download: "adapter.zip", textContent: "Download the adapter" });
  link.href = URL.createObjectURL(await tuner.exportAdapter({ format: "peft" }));
  document.body.append(link);
}

const explain = (error) => say(error instanceof PostilError ? `${error.name}: ${error.message}\n` : `${error}\n`);
const onProgress = ({ stage, done, total }) => (document.title = `${stage} ${done} of ${total || "?"} bytes`);
const tuner = await Tuner.create({ model: "built-in", onProgress }).catch(explain);
button.disabled = !tuner;
button.onclick = () => run(tuner).catch(explain);
addEventListener("pagehide", () => tuner?.dispose());
