import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";

interface PanelProps {
  number: number;
  title: string;
  /** What is dropped anywhere on the panel, but for places that take it themselves. */
  onDrop?: (transfer: DataTransfer) => void;
  children: ComponentChildren;
}

export const panelId = (number: number): string => `panel-${number}`;

/** One step of the work, its number in the margin. */
export function Panel({ number, title, onDrop, children }: PanelProps) {
  const id = panelId(number);
  const over = useSignal(false);
  const drop = onDrop && {
    onDragOver: (event: DragEvent) => {
      event.preventDefault();
      over.value = true;
    },
    onDragLeave: (event: DragEvent) => {
      const inside = (event.currentTarget as Element).contains(event.relatedTarget as Node | null);
      if (!inside) over.value = false;
    },
    onDrop: (event: DragEvent) => {
      over.value = false;
      if (event.defaultPrevented || !event.dataTransfer) return;
      event.preventDefault();
      onDrop(event.dataTransfer);
    },
  };
  return (
    <section class={over.value ? "panel over" : "panel"} aria-labelledby={id} {...drop}>
      <span class="margin-number" aria-hidden="true">
        {number}
      </span>
      <div class="panel-body">
        <h2 id={id} tabIndex={-1}>
          {title}
        </h2>
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
