/** What the page shows when it cannot show its work. */
import { start } from "../session/boot";
import { saveUnchecked } from "../session/downloads";
import type { NoGpuReason, PostilError } from "postil";
import { bestAdapter, run, savedAdapter } from "../state";
import { Notice } from "./Panel";

const BROWSERS = [
  ["Chrome and Edge", "Windows, macOS, ChromeOS and Android; Linux with some GPUs"],
  ["Safari 26 and newer", "macOS, iOS and iPadOS"],
  ["Firefox 141 and newer", "Windows; from 145 on also Macs with Apple silicon"],
];

export function Unsupported({ reason, message }: { reason: NoGpuReason; message: string }) {
  return (
    <article class="explanation">
      <h2>This browser cannot train here</h2>
      <p>{message}</p>
      {reason !== "insecure" && (
        <>
          <h3>Browsers with WebGPU</h3>
          <table>
            <tbody>
              {BROWSERS.map(([browser, where]) => (
                <tr key={browser}>
                  <th scope="row">{browser}</th>
                  <td>{where}</td>
                </tr>
              ))}
            </tbody>
          </table>
          <p>Open this page in one of them. The same training also runs from a terminal, with the program postil.</p>
        </>
      )}
    </article>
  );
}

export function StartFailed({ message }: { message: string }) {
  return (
    <article class="explanation">
      <h2>The engine did not start</h2>
      <Notice kind="error">{message}</Notice>
      <button type="button" onClick={() => void start()}>
        Try again
      </button>
    </article>
  );
}

const WHY: Record<string, string> = {
  Device: "The GPU was taken away: the driver restarted, the computer slept, or memory ran out. ",
  OutOfMemory: "The GPU’s memory ran out, and what was on the GPU is lost. ",
};

export function Crashed({ failure }: { failure: PostilError }) {
  const saved = savedAdapter.value;
  const best = bestAdapter.value;
  const lost = run.value.status === "failed";
  return (
    <article class="explanation">
      <h2>The engine has stopped</h2>
      <Notice kind="error">{failure.message}</Notice>
      <p>
        {WHY[failure.kind] ?? "The part of the page that does the work ended unexpectedly; memory may have run out. "}
        {lost && "The run it was in has ended. A smaller batch size or maximum length needs less memory."}
      </p>
      <p class="actions">
        <button type="button" class="primary" onClick={() => void start()}>
          Start again
        </button>
        {saved && (
          <button type="button" onClick={() => saveUnchecked(saved)}>
            Download the adapter as of step {saved.step}
          </button>
        )}
        {best && best.step !== saved?.step && (
          <button type="button" onClick={() => saveUnchecked(best)}>
            Download the best (step {best.step})
          </button>
        )}
      </p>
      {saved && (
        <p class="hint">
          Without the engine a written adapter cannot be checked. After a new start it can be downloaded under Download with
          its check.
        </p>
      )}
    </article>
  );
}
