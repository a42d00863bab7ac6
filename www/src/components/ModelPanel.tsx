import type { ModelInfo } from "postil";
import { compact, count, progressText } from "../format";
import { BUILT_IN, loadModel } from "../session/boot";
import { dropModel } from "../session/dropped";
import { model, modelNotices, type ModelState } from "../state";
import { OtherModel } from "./OtherModel";
import { Notice, Panel } from "./Panel";

export function ModelPanel() {
  return (
    <Panel number={1} title="Model" onDrop={(transfer) => void dropModel(transfer)}>
      <Status state={model.value} />
      {modelNotices.value.map(({ kind, text }) => (
        <Notice kind={kind} key={text}>
          {text}
        </Notice>
      ))}
      <OtherModel />
    </Panel>
  );
}

function Status({ state }: { state: ModelState }) {
  switch (state.name) {
    case "loading": {
      const verb = state.stage === "download" ? "Reading" : "Moving to the GPU";
      const { done, total } = state.progress;
      return (
        <>
          <label class="loading" for="model-progress">
            {state.title ? `${verb}: ${state.title}` : "Starting the engine"}
          </label>
          {["", BUILT_IN.name].includes(state.title) && <About />}
          <div class="model-state">
            <progress id="model-progress" {...(total > 0 ? { value: done, max: total } : {})} />
            <div class="actions">
              <small class="hint run-status">{progressText(state.progress)}</small>
              {state.cancel && (
                <button type="button" onClick={state.cancel}>
                  Cancel
                </button>
              )}
            </div>
          </div>
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

function About() {
  return <p>A small Llama made for this page. It has read simple stories and tells them plainly, so a short training shows.</p>;
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
      {info.name === BUILT_IN.name && <About />}
      <dl class="facts model-state">
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
