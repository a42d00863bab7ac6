/** Small open models on the Hub that are worth beginning with, the smallest first. */
import list from "./suggestions.json";

export interface Suggestion {
  /** `owner/name` */
  name: string;
  parameters: number;
  /** What is downloaded, about: the weights as they are stored there. Some store a tied vocabulary twice. */
  bytes: number;
  licence: string;
  /** Its terms are accepted on the Hub first, and an access token is needed. */
  gated?: boolean;
  /** What of its config.json a memory plan goes by. */
  config: object;
}

export const SUGGESTIONS: readonly Suggestion[] = list;
