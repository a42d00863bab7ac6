import type { StepReport } from "postil";
import { useSignal } from "@preact/signals";
import { bytes, loss, rate, scientific } from "../format";
import { steps } from "../state";

const ROWS = 60;

/** The curve as numbers: every step with a held-out loss, and others evenly spaced. Filled in only while it is open. */
export function LossTable() {
  const open = useSignal(false);
  return (
    <details onToggle={({ currentTarget }) => (open.value = currentTarget.open)}>
      <summary>Loss as a table</summary>
      {open.value && (
        <div class="table-scroll" tabIndex={0} role="group" aria-label="Loss by step">
          <table>
            <thead>
              <tr>
                <th scope="col">Step</th>
                <th scope="col">Training loss</th>
                <th scope="col">Held-out loss</th>
                <th scope="col">Learning rate</th>
                <th scope="col">Gradient norm</th>
                <th scope="col">Speed</th>
                <th scope="col">GPU memory</th>
              </tr>
            </thead>
            <tbody>
              {thin(steps.value).map((report) => (
                <tr key={report.step}>
                  <th scope="row">{report.step}</th>
                  <td>{loss(report.loss)}</td>
                  <td>{report.eval_loss === undefined ? "" : loss(report.eval_loss)}</td>
                  <td>{scientific(report.lr)}</td>
                  <td>{report.grad_norm.toFixed(3)}</td>
                  <td>{rate(report.tokens_per_second)}</td>
                  <td>{bytes(report.memory)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </details>
  );
}

function thin(all: readonly StepReport[]): StepReport[] {
  const every = Math.ceil(all.length / ROWS);
  return all.filter(
    (report, index) => index % every === 0 || index === all.length - 1 || report.eval_loss !== undefined,
  );
}
