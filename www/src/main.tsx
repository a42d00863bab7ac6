import { render } from "preact";
import { App } from "./components/App";
import { arrive, followAddress } from "./session/address";
import { start } from "./session/boot";
import { openHistory } from "./session/history";
import { followPlan } from "./session/memory";
import { showLastSweep } from "./session/sweep";
import { followVersion } from "./session/version";
import "./styles/base.css";
import "./styles/layout.css";
import "./styles/parts.css";
import "./styles/path.css";
import "./styles/model.css";
import "./styles/data.css";
import "./styles/memory.css";
import "./styles/adapter.css";
import "./styles/train.css";
import "./styles/runs.css";
import "./styles/compare.css";
import "./styles/sweep.css";
import "./styles/download.css";

// A file that misses its field would otherwise take the page's place.
for (const type of ["dragover", "drop"]) addEventListener(type, (event) => event.preventDefault());

arrive();
render(<App />, document.getElementById("app")!);
followPlan();
void start();
void openHistory();
void showLastSweep();
followAddress();
void followVersion();
