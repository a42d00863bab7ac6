import { forgetLink } from "../session/address";
import { loadLinked } from "../session/boot";
import { active, generating, linked, linkNotes, model } from "../state";
import { Notice } from "./Panel";

/** What came by the address or a run file and needs the user. */
export function Arrived() {
  const wanted = linked.value?.model;
  const notes = linkNotes.value;
  if (!wanted && notes.length === 0) return null;
  return (
    <section class="arrived" aria-label="Settings from a link or a run file">
      {wanted && (
        <Notice kind="note">
          <p>
            These settings are for <strong>{wanted}</strong> from the Hub. Nothing is downloaded before you say so.
          </p>
          <p class="actions">
            <button
              type="button"
              disabled={active.value || generating.value || model.value.name === "loading"}
              onClick={() => void loadLinked()}
            >
              Load {wanted}
            </button>
          </p>
        </Notice>
      )}
      {notes.length > 0 && (
        <Notice kind="warning">
          <ul>
            {notes.map((note) => (
              <li key={note}>{note}</li>
            ))}
          </ul>
        </Notice>
      )}
      <button type="button" onClick={forgetLink}>
        Close
      </button>
    </section>
  );
}
