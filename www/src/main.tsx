import { render } from "preact";
import { App } from "./components/App";
import { start } from "./session/boot";
import { findKept } from "./session/keep";
import "./styles/base.css";
import "./styles/panels.css";

render(<App />, document.getElementById("app")!);
void start();
void findKept();
