import { device, newVersion, phase } from "../state";
import { AdapterPanel } from "./AdapterPanel";
import { Arrived } from "./Arrived";
import { Crashed, StartFailed, Unsupported } from "./Conditions";
import { DataPanel } from "./DataPanel";
import { later } from "./later";
import { ModelPanel } from "./ModelPanel";
import { Panel } from "./Panel";
import { PathBar } from "./PathBar";
import { ResumeBanner } from "./ResumeBanner";
import { TrainPanel } from "./TrainPanel";

const below = () => import("./Below");
/** A panel that is still to come; a tall one keeps what stands below it out of sight until then. */
const frame = (number: number, title: string, isTall = false) => () => (
  <Panel number={number} title={title}>
    {isTall && <div class="to-come" />}
  </Panel>
);
const ComparePanel = later(() => below().then((panels) => panels.ComparePanel), frame(5, "Compare", true));
const DownloadPanel = later(() => below().then((panels) => panels.DownloadPanel), frame(6, "Download"));
const RunsPanel = later(() => below().then((panels) => panels.RunsPanel), frame(7, "Runs"));
const SweepPanel = later(() => below().then((panels) => panels.SweepPanel), frame(8, "Sweep"));
const SharePanel = later(() => below().then((panels) => panels.SharePanel), frame(9, "Take the settings along"));

export function App() {
  const isShown = ["starting", "ready"].includes(phase.value.name);
  return (
    <>
      {/* index.html has the same masthead, so that it is there before the scripts are. */}
      <header class="masthead">
        <div>
          <h1>Postil</h1>
          <p>Fine-tune a language model in this tab, on your own GPU. Nothing leaves your machine.</p>
        </div>
        <Device />
      </header>
      {isShown && <PathBar />}
      <main>
        <Body />
      </main>
      <footer class="colophon">
        {newVersion.value && (
          <p role="status">
            A newer version of this page is here. It is used once every tab of this one is closed; a run is never cut short
            for it.
          </p>
        )}
        Your data, the model and the adapter stay in this browser; the page talks to no server but the one it came from
        and, when you ask for a model by name, the Hub.
      </footer>
    </>
  );
}

function Device() {
  if (!device.value) {
    return (
      <p class="device" role="status">
        <span class="device-label">Runs on</span> <strong>…</strong>
        <small>{phase.value.name === "starting" ? "looking for a GPU, loading the engine" : "nothing: the engine is not there"}</small>
      </p>
    );
  }
  const { name, device_type, features } = device.value;
  if (device_type === "Cpu") {
    return (
      <p class="device">
        <span class="device-label">Runs on</span> <strong>the processor</strong>
        <small>no graphics card was found: training is slow</small>
      </p>
    );
  }
  const halves = features.some((feature) => /shader.f16/i.test(feature));
  return (
    <p class="device">
      <span class="device-label">Runs on</span> <strong>{name || "your GPU"}</strong>
      <small>through WebGPU{halves && ", with 16-bit floats"}</small>
    </p>
  );
}

function Body() {
  const now = phase.value;
  switch (now.name) {
    case "unsupported":
      return <Unsupported reason={now.reason} message={now.message} />;
    case "failed":
      return <StartFailed message={now.message} />;
    case "crashed":
      return <Crashed failure={now.failure} />;
    // From the first moment everything has its place; what needs the engine waits for it.
    case "starting":
    case "ready":
      return (
        <>
          {/* What comes late lies over the page, which stays where it is. */}
          <div class="late">
            <ResumeBanner />
            <Arrived />
          </div>
          <div class="bench">
            <div class="set-up">
              <ModelPanel />
              <DataPanel />
              <AdapterPanel />
            </div>
            <div class="run">
              <TrainPanel />
              <ComparePanel />
              <DownloadPanel />
            </div>
          </div>
          <RunsPanel />
          <SweepPanel />
          <SharePanel />
        </>
      );
  }
}
