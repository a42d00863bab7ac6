import { render } from "preact";
import { App } from "./components/App";
import { start } from "./session/boot";
import { findKept } from "./session/keep";
import "./styles/base.css";
import "./styles/panels.css";

// A file that misses its field would otherwise take the page's place.
for (const type of ["dragover", "drop"]) addEventListener(type, (event) => event.preventDefault());

render(<App />, document.getElementById("app")!);
void start();
void findKept();
