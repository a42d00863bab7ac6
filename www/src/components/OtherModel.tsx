import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import type { KeptModel, ModelSource } from "postil";
import { bytes } from "../format";
import { loadModel } from "../session/boot";
import { askHub, deleteKept, fromFiles, fromHub, fromKept, giveToken } from "../session/models";
import { active, generating, hubAddress, hubToken, keptModels, model } from "../state";
import { ConfirmDelete } from "./ConfirmDelete";
import { FileField, TextField } from "./Fields";
import { Notice } from "./Panel";
import { Suggestions } from "./Suggestions";

/** Otherwise the page's policy blocks every server but the Hub. */
const MAY_ASK_OTHERS = Boolean(import.meta.env.VITE_HUB_ADDRESS || import.meta.env.VITE_HUB_ORIGINS);

/** Every other model than the built-in one: by name, kept from before, or from the user's disk. */
export function OtherModel() {
  return (
    <details>
      <summary>Use another model</summary>
      <fieldset disabled={active.value || generating.value || model.value.name === "loading"} class="bare">
        <legend class="sr-only">Another model</legend>
        <FromHub />
        {keptModels.value.length > 0 && <Kept models={keptModels.value} />}
        <FromDisk />
      </fieldset>
    </details>
  );
}

/** Loads what was asked for, or says what is wrong with it. */
function useChoice() {
  const error = useSignal<string | undefined>(undefined);
  const choose = (source: ModelSource | string) => {
    error.value = typeof source === "string" ? source : undefined;
    if (typeof source !== "string") void loadModel(source);
  };
  return { error, choose };
}

function FromHub() {
  const name = useSignal("");
  const form = useRef<HTMLFormElement>(null);
  const { error, choose } = useChoice();
  return (
    <form
      ref={form}
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        choose(fromHub(name.value));
      }}
    >
      <h3>From the Hugging Face Hub</h3>
      <TextField
        label="Model name"
        placeholder="owner/name"
        hint="As on the Hub, with @revision for another branch or commit. The model is kept in this browser."
        value={name.value}
        onChange={(value) => (name.value = value)}
      />
      <Suggestions
        onChoose={(suggestion) => {
          name.value = suggestion.name;
          form.current?.querySelector<HTMLInputElement>("input")?.focus();
        }}
      />
      <TextField
        label="Access token (optional)"
        secret
        hint="For gated and private models. It is kept in memory only and sent to the Hub alone."
        value={hubToken.value}
        onChange={giveToken}
      />
      {MAY_ASK_OTHERS && (
        <details>
          <summary>Another Hub</summary>
          <TextField
            label="Hub address"
            hint="A server that answers as the Hub does, and that this page was built with leave to ask."
            value={hubAddress.value}
            onChange={askHub}
          />
        </details>
      )}
      <div class="actions">
        <button type="submit" disabled={name.value.trim() === ""}>
          Load from the Hub
        </button>
      </div>
      {error.value && <Notice kind="error">{error.value}</Notice>}
    </form>
  );
}

function Kept({ models }: { models: readonly KeptModel[] }) {
  return (
    <div class="kept-models">
      <h3>Kept in this browser</h3>
      <ul>
        {models.map((kept) => (
          <KeptOne key={kept.id} kept={kept} />
        ))}
      </ul>
    </div>
  );
}

function KeptOne({ kept }: { kept: KeptModel }) {
  const deleting = useSignal(false);
  return (
    <li>
      <span class="kept-name">
        {kept.name} <small>{describe(kept)}</small>
      </span>
      {kept.complete && (
        <button type="button" aria-label={`Load ${kept.name}`} onClick={() => void loadModel(fromKept(kept))}>
          Load
        </button>
      )}
      <button
        type="button"
        aria-label={`Delete ${kept.name}…`}
        aria-expanded={deleting.value}
        onClick={() => (deleting.value = !deleting.value)}
      >
        Delete…
      </button>
      {deleting.value && (
        <ConfirmDelete
          what={`Delete ${kept.name} from this browser? Its ${bytes(kept.bytes)} would have to be downloaded again.`}
          onDelete={() => void deleteKept(kept)}
          onKeep={() => (deleting.value = false)}
        />
      )}
    </li>
  );
}

function describe({ bytes: size, commit, complete }: KeptModel): string {
  const state = complete ? "" : ", not whole: load it by its name to go on";
  return `${bytes(size)}, commit ${commit.slice(0, 7)}${state}`;
}

function FromDisk() {
  const { error, choose } = useChoice();
  return (
    <>
      <h3>From your disk</h3>
      <FileField
        label="Model files"
        folder="or their folder"
        hint="config.json, tokenizer.json and model.safetensors (or its parts with model.safetensors.index.json) as on the Hub, with the other .json and .jinja files that there are; or one GGUF file: .gguf, or a blob of Ollama. They, or their folder, can be dropped anywhere on this panel."
        multiple
        dropsElsewhere
        onFiles={(files) => void fromFiles(files).then(choose)}
      />
      {error.value && <Notice kind="error">{error.value}</Notice>}
    </>
  );
}
