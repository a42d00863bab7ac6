/** Choosing another model: by its name on the Hub, from those kept in this browser, or from the user's disk. */
import { fromFiles as readFiles, fromHub as fromName, parseHubName, type KeptModel, type ModelSource } from "postil";
import { hubAddress, hubToken, keptModels, modelNotices } from "../state";
import { tuner } from "./engine";
import { askToPersist } from "./store";

/** What the Hub's form asks for, or what is wrong with it. */
export function fromHub(name: string): ModelSource | string {
  askToPersist();
  try {
    return fromName(name, { hubAddress: hubAddress.value, token: hubToken.value });
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

export const giveToken = (token: string) => (hubToken.value = token);
export const askHub = (address: string) => (hubAddress.value = address);

export const fromKept = ({ id, name }: KeptModel): ModelSource => ({ name, kept: id });

/** What a model is called in an address or a run file: its name on the Hub, if it comes from there. */
export const sharedName = (source: ModelSource): string | undefined =>
  "hub" in source || ("kept" in source && parseHubName(source.name)) ? source.name : undefined;

/** What files that were chosen or dropped together are, or what is missing among them. */
export async function fromFiles(chosen: readonly File[]): Promise<ModelSource | string> {
  return await readFiles(chosen).catch((error: unknown) => (error instanceof Error ? error.message : String(error)));
}

export async function listKept(): Promise<void> {
  keptModels.value = await tuner().keptModels().catch(() => []);
}

export async function deleteKept({ id, name }: KeptModel): Promise<void> {
  try {
    keptModels.value = await tuner().deleteKeptModel(id);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    modelNotices.value = [{ kind: "error", text: `${name} could not be deleted: ${why}` }];
  }
}
