import { chooseOwnFiles, chooseSet, dropData, dropEvalFile, takeFile } from "../session/data";
import { changeSettings } from "../session/settings";
import { active, chosenData, dataSets, dataSetsError, dropNotice, evalFile, OWN_FILES, settings, trainFile } from "../state";
import { FileField, FormId, NumberField } from "./Fields";
import { FileReport } from "./FileReport";
import { Paste } from "./Paste";
import { Notice, Panel } from "./Panel";
import { SETTINGS_FORM } from "./TrainSettings";

/** What the engine reads. */
const ACCEPT = ".jsonl,.json,.csv,.tsv,.parquet,.txt";

export function DataPanel() {
  const own = chosenData.value === OWN_FILES;
  return (
    <Panel number={2} title="Data" onDrop={({ files }) => void dropData([...files])}>
      <fieldset class="data-sets" disabled={active.value}>
        <legend class="sr-only">Data set</legend>
        {dataSets.value.length === 0 && !dataSetsError.value && <Expected />}
        {dataSets.value.map(({ id, title, description }) => (
          <Choice
            key={id}
            title={title}
            description={description}
            checked={chosenData.value === id}
            onChoose={() => void chooseSet(id)}
          />
        ))}
        <Choice
          title="Your own file"
          description="Dropped here, pasted or chosen; it is sent nowhere."
          checked={own}
          onChoose={chooseOwnFiles}
        />
      </fieldset>
      {dataSetsError.value && <Notice kind="warning">{dataSetsError.value}</Notice>}
      {dropNotice.value && <Notice kind="warning">{dropNotice.value}</Notice>}
      {own && <OwnFiles />}
      {trainFile.value ? <FileReport loaded={trainFile.value} role="train" /> : !own && <div class="file-report" />}
      {evalFile.value && <FileReport loaded={evalFile.value} role="eval" />}
    </Panel>
  );
}

/** The room of the sets that the page brings, while their list is on its way. */
function Expected() {
  return (
    <>
      {[1, 2, 3].map((number) => (
        <span class="choice expected" aria-hidden="true" key={number} />
      ))}
    </>
  );
}

interface ChoiceProps {
  title: string;
  description: string;
  checked: boolean;
  onChoose: () => void;
}

function Choice({ title, description, checked, onChoose }: ChoiceProps) {
  return (
    <label class="choice">
      <input type="radio" name="data" checked={checked} onChange={onChoose} />
      <span>
        <strong>{title}</strong>
        <small>{description}</small>
      </span>
    </label>
  );
}

function OwnFiles() {
  return (
    <fieldset class="bare" disabled={active.value}>
      <legend class="sr-only">Your files</legend>
      <FileField
        label="Training file"
        hint="JSON Lines, JSON, CSV, TSV, Parquet or plain text, with records of text, prompt and completion, chat messages, ShareGPT, or Alpaca."
        accept={ACCEPT}
        onFiles={(files) => void dropData(files)}
      />
      <Paste />
      <FileField
        label="Held-out file (optional)"
        hint="Examples that are not trained on; their loss shows whether the model learns more than its examples."
        accept={ACCEPT}
        onFiles={([file]) => file && void takeFile("eval", file)}
      />
      {evalFile.value ? (
        <button type="button" onClick={dropEvalFile}>
          Remove {evalFile.value.file.name}
        </button>
      ) : (
        <FormId.Provider value={SETTINGS_FORM}>
          <NumberField
            label="Held-out share"
            hint="Without a held-out file: so much of the training file is held out instead, such as 0.1. The seed draws the examples."
            value={settings.value.eval_split}
            min={0}
            max={0.99}
            onChange={(eval_split) => changeSettings({ eval_split })}
          />
        </FormId.Provider>
      )}
    </fieldset>
  );
}
