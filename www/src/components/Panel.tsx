import type { ComponentChildren } from "preact";

interface PanelProps {
  /** `§`: beside the path. */
  number: number | "§";
  title: string;
  children: ComponentChildren;
}

/** One step of the work, its number in the margin. */
export function Panel({ number, title, children }: PanelProps) {
  const id = `panel-${number}`;
  return (
    <section class="panel" aria-labelledby={id}>
      <span class="margin-number" aria-hidden="true">
        {number}
      </span>
      <div class="panel-body">
        <h2 id={id}>{title}</h2>
        {children}
      </div>
    </section>
  );
}

interface NoticeProps {
  kind: "error" | "warning" | "note";
  children: ComponentChildren;
}

const NOTICE_MARKS = { error: "Error", warning: "Warning", note: "Note" };

/** A message with its weight in words, not in colour alone. */
export function Notice({ kind, children }: NoticeProps) {
  return (
    <div class={`notice ${kind}`} role={kind === "error" ? "alert" : undefined}>
      <strong class="notice-mark">{NOTICE_MARKS[kind]}</strong> <div>{children}</div>
    </div>
  );
}

export function Warnings({ list }: { list: readonly string[] }) {
  return (
    <>
      {list.map((text) => (
        <Notice kind="warning" key={text}>
          {text}
        </Notice>
      ))}
    </>
  );
}
