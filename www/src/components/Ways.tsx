import { useSignal } from "@preact/signals";
import { commandLine, runFileCommand } from "../session/command";
import type { Description, FileUse } from "../session/description";
import { saveFile } from "../session/save";
import { script } from "../session/script";
import { CopyButton } from "./CopyButton";

/** A run as a command line, from its run file, and as a script. */
export function Ways({ run }: { run: Description }) {
  return (
    <>
      {("train" in run.data || run.initAdapter) && (
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

function readsApart({ data }: Description): boolean {
  if (!("train" in data) || !data.eval) return false;
  const way = ({ format, columns }: FileUse) => JSON.stringify([format, columns]);
  return way(data.train) !== way(data.eval);
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
