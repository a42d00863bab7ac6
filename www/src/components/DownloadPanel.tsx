import { bytes, loss } from "../format";
import { saveFile, zipAdapter } from "../session/adapter";
import { bestAdapter, savedAdapter, type SavedAdapter } from "../state";
import { Panel } from "./Panel";

const LOADING = `from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained("path/to/base-model")
model = PeftModel.from_pretrained(base, "path/to/adapter")`;

export function DownloadPanel() {
  const saved = savedAdapter.value;
  const best = bestAdapter.value;
  return (
    <Panel number={6} title="Take the adapter">
      {saved ? (
        <>
          <p class="actions">
            <button type="button" class="primary" onClick={() => saveFile(zipAdapter(saved.files), "adapter.zip")}>
              Download adapter.zip
            </button>
            <span class="run-status">
              As of step {saved.step}, {bytes(saved.files.config.length + saved.files.model.length)}
              {!saved.complete && "; a newer one follows as training goes on"}
            </span>
          </p>
          {best && best.step !== saved.step && (
            <p class="actions">
              <DownloadBest best={best} />
              <span class="run-status">Lowest held-out loss: {loss(best.loss)}</span>
            </p>
          )}
          <p>
            The zip holds <code>adapter_config.json</code> and <code>adapter_model.safetensors</code> in PEFT’s form.
            Unpacked, they load on the base model they were trained on:
          </p>
          <pre tabIndex={0} aria-label="Loading the adapter in Python">
            <code>{LOADING}</code>
          </pre>
        </>
      ) : (
        <p class="hint">Here you download the adapter once there is one. It loads unchanged in PEFT.</p>
      )}
    </Panel>
  );
}

export function DownloadBest({ best }: { best: SavedAdapter }) {
  return (
    <button type="button" onClick={() => saveFile(zipAdapter(best.files), `adapter-step-${best.step}.zip`)}>
      Download the best (step {best.step})
    </button>
  );
}
