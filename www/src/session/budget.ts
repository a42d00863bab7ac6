/** How much GPU memory runs are planned against. */
import { active, evalFile, memoryBudget, modelInfo, settings, trainFile } from "../state";
import { client } from "./engine";
import { loraOptions, trainOptions } from "./options";

/** Asks once, with the settings there are: only a plan knows. Without an answer nothing is said of it. */
export async function learnBudget(): Promise<void> {
  const train = trainFile.value;
  if (memoryBudget.value !== undefined || !modelInfo.value || !train?.report || active.value) return;
  const evaluation = evalFile.value?.report && evalFile.value.file;
  const options = { adapter: "plan", lora: loraOptions(settings.value), train: trainOptions(settings.value) };
  const plan = await client()
    .call("plan_memory", { options, train: train.file, ...(evaluation ? { evaluation } : {}) })
    .catch(() => undefined);
  if (plan) memoryBudget.value = plan.budget.bytes;
}
