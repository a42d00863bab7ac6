/** The settings outside of the page. */
import { modelInfo, settings } from "../state";

/** All settings, as a file. */
export function runFile(): string {
  return `${JSON.stringify({ model: modelInfo.value?.name, ...settings.value }, null, 2)}\n`;
}
