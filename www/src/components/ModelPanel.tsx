import type { ModelInfo } from "postil-engine";
import { compact, count, bytes } from "../format";
import { BUILT_IN, loadModel } from "../session/boot";
import { active, generating, model, type ModelState } from "../state";
import { FileField } from "./Fields";
import { Notice, Panel } from "./Panel";
import { useSignal } from "@preact/signals";

export function ModelPanel() {
  return (
    <Panel number={1} title="Model">
      <Status state={model.value} />
      <OwnModel />
    </Panel>
  );
}

function Status({ state }: { state: ModelState }) {
  switch (state.name) {
    case "loading": {
      const verb = state.stage === "download" ? "Reading" : "Moving to the GPU";
      const known = state.total > 0;
      return (
        <>
          <label class="loading">
            {verb}: {state.title}
            <progress {...(known ? { value: state.done, max: state.total } : {})} />
          </label>
          {known && (
            <small class="hint">
              {bytes(state.done)} of {bytes(state.total)}
            </small>
          )}
        </>
      );
    }
    case "failed":
      return (
        <>
          <Notice kind="error">{state.message}</Notice>
          <button type="button" onClick={() => void loadModel(BUILT_IN)}>
            Load the built-in model
          </button>
        </>
      );
    case "loaded":
      return <Facts info={state.info} />;
  }
}

function Facts({ info }: { info: ModelInfo }) {
  const facts = [
    ["Parameters", compact(info.parameters)],
    ["Layers", count(info.num_hidden_layers)],
    ["Hidden size", count(info.hidden_size)],
    ["Vocabulary", count(info.vocab_size)],
    ["Context", `${count(info.max_position_embeddings)} tokens`],
  ] as const;
  return (
    <>
      <p class="model-name">{info.name}</p>
      {info.name === BUILT_IN.name && (
        <p>
          A small Llama made for this page. It has read simple stories and tells them plainly, so a short training shows.
        </p>
      )}
      <dl class="facts">
        {facts.map(([term, value]) => (
          <div key={term}>
            <dt>{term}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </>
  );
}

function OwnModel() {
  const error = useSignal<string | undefined>(undefined);
  const take = (files: File[]) => {
    const named = (name: string) => files.find((file) => file.name === name);
    const config = named("config.json");
    const tokenizer = named("tokenizer.json");
    const weights = named("model.safetensors");
    if (!config || !tokenizer || !weights) {
      const wanted = ["config.json", "tokenizer.json", "model.safetensors"].filter((name) => !named(name));
      error.value = `Missing: ${wanted.join(", ")}. Choose the files of one model together.`;
      return;
    }
    error.value = undefined;
    const tokenizer_config = named("tokenizer_config.json");
    const chat_template = named("chat_template.jinja");
    void loadModel({
      name: "Your model",
      config,
      weights,
      tokenizer,
      ...(tokenizer_config ? { tokenizer_config } : {}),
      ...(chat_template ? { chat_template } : {}),
    });
  };
  return (
    <details>
      <summary>Use another model</summary>
      <fieldset disabled={active.value || generating.value || model.value.name === "loading"} class="bare">
        <legend class="sr-only">Another model</legend>
        <FileField
          label="Model files"
          hint="config.json, model.safetensors and tokenizer.json as on the Hugging Face Hub; with them tokenizer_config.json and chat_template.jinja, where the model has them."
          accept=".json,.safetensors,.jinja"
          multiple
          onFiles={take}
        />
      </fieldset>
      {error.value && <Notice kind="error">{error.value}</Notice>}
    </details>
  );
}
