/** The panels below the fold, in a file of their own: the page shows, and starts the engine, before they are here. */
export { ComparePanel } from "./ComparePanel";
export { DownloadPanel } from "./DownloadPanel";
export { RunsPanel } from "./RunsPanel";
export { SharePanel } from "./SharePanel";
export { SweepPanel } from "./SweepPanel";
