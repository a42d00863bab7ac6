/** Parts of the page that are fetched when they are first shown. */
import { signal } from "@preact/signals";
import type { ComponentChildren, ComponentType } from "preact";
import { Notice } from "./Panel";

/** Parts that arrive together are shown one after another, each in a task of its own: the page answers in between. */
let turn = Promise.resolve();
const nextTurn = () => (turn = turn.then(() => new Promise((resolve) => setTimeout(resolve))));

/** A component of its own file. Until that is here, `placeholder` keeps its room. */
export function later<Props extends object>(
  load: () => Promise<ComponentType<Props>>,
  placeholder: (props: Props) => ComponentChildren,
): ComponentType<Props> {
  const loaded = signal<ComponentType<Props> | undefined>(undefined);
  const failed = signal(false);
  let asked = false;
  const fetchIt = () => {
    asked = true;
    load().then(
      (component) => void nextTurn().then(() => (loaded.value = component)),
      () => (failed.value = true),
    );
  };
  return function Later(props: Props) {
    const Shown = loaded.value;
    if (Shown) return <Shown {...props} />;
    if (!asked) fetchIt();
    return (
      <>
        {placeholder(props)}
        {failed.value && <Notice kind="error">A part of the page could not be fetched. Reload it when the network is back.</Notice>}
      </>
    );
  };
}
