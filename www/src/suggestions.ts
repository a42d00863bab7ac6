/** Small open models on the Hub that are worth beginning with, the smallest first. */

export interface Suggestion {
  /** `owner/name` */
  name: string;
  parameters: number;
  /** What is downloaded, about: the weights as they are stored there. */
  bytes: number;
  licence: string;
  /** Its terms are accepted on the Hub first, and an access token is needed. */
  gated?: true;
}

const bf16 = (parameters: number) => 2 * parameters;

/** Parameters as the models' cards say; Qwen3's 0.6B and 1.7B store their tied vocabulary twice. */
export const SUGGESTIONS: readonly Suggestion[] = [
  { name: "openai-community/gpt2", parameters: 124_439_808, bytes: 548_105_171, licence: "MIT" },
  { name: "HuggingFaceTB/SmolLM2-135M", parameters: 134_515_008, bytes: bf16(134_515_008), licence: "Apache 2.0" },
  {
    name: "HuggingFaceTB/SmolLM2-135M-Instruct",
    parameters: 134_515_008,
    bytes: bf16(134_515_008),
    licence: "Apache 2.0",
  },
  { name: "google/gemma-3-270m", parameters: 268_098_176, bytes: bf16(268_098_176), licence: "Gemma", gated: true },
  { name: "HuggingFaceTB/SmolLM2-360M", parameters: 361_821_120, bytes: bf16(361_821_120), licence: "Apache 2.0" },
  {
    name: "HuggingFaceTB/SmolLM2-360M-Instruct",
    parameters: 361_821_120,
    bytes: bf16(361_821_120),
    licence: "Apache 2.0",
  },
  { name: "Qwen/Qwen2.5-0.5B-Instruct", parameters: 494_032_768, bytes: bf16(494_032_768), licence: "Apache 2.0" },
  { name: "Qwen/Qwen3-0.6B", parameters: 596_049_920, bytes: bf16(751_632_384), licence: "Apache 2.0" },
  { name: "google/gemma-3-1b-it", parameters: 999_885_952, bytes: bf16(999_885_952), licence: "Gemma", gated: true },
  {
    name: "meta-llama/Llama-3.2-1B",
    parameters: 1_235_814_400,
    bytes: bf16(1_235_814_400),
    licence: "Llama 3.2",
    gated: true,
  },
  { name: "Qwen/Qwen2.5-1.5B-Instruct", parameters: 1_543_714_304, bytes: bf16(1_543_714_304), licence: "Apache 2.0" },
  { name: "HuggingFaceTB/SmolLM2-1.7B", parameters: 1_711_376_384, bytes: bf16(1_711_376_384), licence: "Apache 2.0" },
  {
    name: "HuggingFaceTB/SmolLM2-1.7B-Instruct",
    parameters: 1_711_376_384,
    bytes: bf16(1_711_376_384),
    licence: "Apache 2.0",
  },
  { name: "Qwen/Qwen3-1.7B", parameters: 1_720_574_976, bytes: bf16(2_031_739_904), licence: "Apache 2.0" },
  { name: "microsoft/Phi-3-mini-4k-instruct", parameters: 3_821_079_552, bytes: bf16(3_821_079_552), licence: "MIT" },
];

/** Beside the weights: the activations of a small batch, the adapter and what belongs to it. */
const LEAST_WORK = 300 * 2 ** 20;
const WORK_SHARE = 0.25;

/** Bytes that training a model takes at least, by its size alone; the plan after loading is exact. */
export const leastMemory = ({ bytes }: Suggestion): number => bytes * (1 + WORK_SHARE) + LEAST_WORK;
