import { device, phase } from "../state";
import { AdapterPanel } from "./AdapterPanel";
import { Arrived } from "./Arrived";
import { ComparePanel } from "./ComparePanel";
import { Crashed, StartFailed, Starting, Unsupported } from "./Conditions";
import { DataPanel } from "./DataPanel";
import { DownloadPanel } from "./DownloadPanel";
import { ModelPanel } from "./ModelPanel";
import { PathBar } from "./PathBar";
import { ResumeBanner } from "./ResumeBanner";
import { RunsPanel } from "./RunsPanel";
import { SharePanel } from "./SharePanel";
import { SweepPanel } from "./SweepPanel";
import { TrainPanel } from "./TrainPanel";

export function App() {
  return (
    <>
      <header class="masthead">
        <div>
          <h1>Postil</h1>
          <p>Fine-tune a language model in this tab, on your own GPU. Nothing leaves your machine.</p>
        </div>
        <Device />
      </header>
      {phase.value.name === "ready" && <PathBar />}
      <main>
        <Body />
      </main>
      <footer class="colophon">
        Your data, the model and the adapter stay in this browser; the page talks to no server but the one it came from
        and, when you ask for a model by name, the Hub.
      </footer>
    </>
  );
}

function Device() {
  if (!device.value) return null;
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
    case "starting":
      return <Starting />;
    case "unsupported":
      return <Unsupported reason={now.reason} message={now.message} />;
    case "failed":
      return <StartFailed message={now.message} />;
    case "crashed":
      return <Crashed failure={now.failure} />;
    case "ready":
      return (
        <>
          <ResumeBanner />
          <Arrived />
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
