import { currentHash, takeRunFile } from "../session/address";
import { describeRun } from "../session/describe";
import { runFile } from "../session/downloads";
import { active, generating } from "../state";
import { CopyButton } from "./CopyButton";
import { FileField } from "./Fields";
import { PlainEntry } from "./Outcome";
import { Panel } from "./Panel";
import { Ways } from "./Ways";

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
      {run ? (
        <>
          <p class="actions">
            <CopyButton text={new URL(currentHash() ?? "", location.href).href} what="the link" />
          </p>
          <Ways run={run} />
          <PlainEntry file={runFile()} />
        </>
      ) : (
        <p class="hint">There is something to take along once there is a model and data.</p>
      )}
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
