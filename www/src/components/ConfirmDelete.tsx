interface ConfirmDeleteProps {
  /** The question. */
  what: string;
  onDelete: () => void;
  onKeep: () => void;
}

/** Asks once more before something is gone for good. */
export function ConfirmDelete({ what, onDelete, onKeep }: ConfirmDeleteProps) {
  return (
    <div class="confirm" role="group" aria-label="Confirm deletion">
      <p>{what}</p>
      <p class="actions">
        <button type="button" onClick={onDelete}>
          Delete for good
        </button>
        <button type="button" onClick={onKeep}>
          Keep
        </button>
      </p>
    </div>
  );
}
