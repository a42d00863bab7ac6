import { useSignal } from "@preact/signals";
import { currentHash, takeRunFile } from "../session/address";
import { commandLine, runFileCommand } from "../session/command";
import { describeRun } from "../session/describe";
import { saveFile } from "../session/save";
import type { Description, FileUse } from "../session/description";
import { script } from "../session/script";
import { active, generating, initAdapter } from "../state";
import { CopyButton } from "./CopyButton";
import { FileField } from "./Fields";
import { Panel } from "./Panel";

/** The run that the page would start, for other people and other programs. */
export function SharePanel() {
  const run = describeRun();
  return (
    <Panel number={9} title="Take the settings along">
      <p>
        The page’s address holds every setting: of the run and its samples, of Compare, of the sweep, and the memory
        budget. A bookmark keeps them, and whoever opens the link has the same. It never holds data, prompts, file names or
        tokens.
      </p>
      {run ? <Ways run={run} /> : <p class="hint">There is something to take along once there is a model and data.</p>}
      <fieldset class="bare" disabled={active.value || generating.value}>
        <legend class="sr-only">Run file</legend>
        <FileField
          label="Open a run file"
          hint="A run.json from here or from the command line. It changes the settings and, where they are built in, model and data."
          accept=".json"
          onFiles={([file]) => file && void takeRunFile(file)}
        />
      </fieldset>
    </Panel>
  );
}

function readsApart({ data }: Description): boolean {
  if (!("train" in data) || !data.eval) return false;
  const way = ({ format, columns }: FileUse) => JSON.stringify([format, columns]);
  return way(data.train) !== way(data.eval);
}

function Ways({ run }: { run: Description }) {
  const link = new URL(currentHash() ?? "", location.href).href;
  const ownFiles = "train" in run.data;
  return (
    <>
      <p class="actions">
        <CopyButton text={link} what="the link" />
      </p>
      {(ownFiles || initAdapter.value) && (
        <p class="hint">
          Other programs look for your files beside the run file, by their names. Pasted data has to be saved there
          first, and a zipped adapter unpacked.
        </p>
      )}
      {readsApart(run) && (
        <p class="hint">
          Here the held-out file is read in another way than the training file; other programs read both in the training
          file’s way.
        </p>
      )}
      <Text title="The same run on the command line" what="the command" text={commandLine(run)} />
      <Text title="The same run from a run file" what="this command" text={runFileCommand} />
      <Text title="The same run in Python, with PEFT and TRL" what="the script" text={script(run)} file="train.py" />
    </>
  );
}

function Text({ title, what, text, file }: { title: string; what: string; text: string; file?: string }) {
  const open = useSignal(false);
  return (
    <details onToggle={({ currentTarget }) => (open.value = currentTarget.open)}>
      <summary>{title}</summary>
      {open.value && (
        <>
          <pre tabIndex={0} aria-label={title}>
            <code>{text}</code>
          </pre>
          <p class="actions">
            <CopyButton text={text} what={what} />
            {file && (
              <button type="button" onClick={() => saveFile(new Blob([text], { type: "text/x-python" }), file)}>
                Download {file}
              </button>
            )}
          </p>
        </>
      )}
    </details>
  );
}
