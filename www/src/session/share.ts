/**
 * The settings as a part of the page's address, after `#`. It can be read and written by hand: what differs from the
 * defaults, by the names that Hugging Face's libraries have. Data, prompts, file names and tokens are never in it.
 *
 *     #v=1&model=owner/name@revision&data=pirate&r=8&target_modules=q_proj,v_proj&layers=0-3:4:8&max_steps=200
 */
import { parseHubName } from "postil";
import { DEFAULTS, type Settings } from "../state";
import { cut, isSetting, SETTING_NAMES, take } from "./check";
import { EXTRAS } from "./extras";
import { exceptions, ranges, withLayers, type Patterns } from "./layers";

const VERSION = "1";

/** What is shared: of the model and the data only what is on the Hub or built in. */
export interface Shared {
  /** `owner/name` on the Hub, with file and revision. Absent for the built-in model and for files. */
  model?: string | undefined;
  /** A built-in set's id. */
  data?: string | undefined;
  settings: Partial<Settings>;
  /** By `EXTRAS`' names. */
  extras?: readonly (readonly [string, string])[];
}

export interface Arrival extends Shared {
  /** What of the address could not be used. */
  notes: string[];
  /** It is of another version: nothing of it was read. */
  isUnread?: boolean;
}

const PATTERNS = ["rank_pattern", "alpha_pattern"] as const;
const LAYERS = /^(\d{1,4})(?:-(\d{1,4}))?:(\d{1,4}):(\d{1,7}(?:\.\d{1,9})?)$/;

/** `modules` are all that the model has: with every one of them chosen, none is named. */
export function toHash({ model, data, settings, extras = [] }: Shared, modules: readonly string[]): string {
  const now = { ...DEFAULTS, ...settings };
  const pairs: [string, string][] = [["v", VERSION]];
  if (model) pairs.push(["model", model]);
  if (data) pairs.push(["data", data]);
  for (const name of SETTING_NAMES) {
    const value = now[name];
    if (typeof value === "object" || Number.isNaN(value)) continue;
    const usual = name === "lora_alpha" ? 2 * now.r : DEFAULTS[name];
    if (value !== usual) pairs.push([name, String(value)]);
  }
  const chosen = now.target_modules;
  if (chosen.length > 0 && !modules.every((name) => chosen.includes(name))) {
    pairs.push(["target_modules", chosen.join(",")]);
  }
  pairs.push(...layerPairs(now));
  for (const [name, value] of extras) pairs.push([name, value]);
  return `#${pairs.map(([name, value]) => `${name}=${readable(value)}`).join("&")}`;
}

/** Ranges of layers in few words; keys that say something else as they are. */
function layerPairs(now: Patterns): [string, string][] {
  const list = exceptions(now);
  const short = list.flatMap(({ layers, r, lora_alpha }) =>
    layers && r !== undefined && lora_alpha !== undefined
      ? ranges(layers, "-")
          .split(", ")
          .map((range) => `${range}:${r}:${lora_alpha}`)
      : [],
  );
  const pairs: [string, string][] = short.length > 0 ? [["layers", short.join(",")]] : [];
  const rest = list.filter(({ layers, r, lora_alpha }) => !layers || r === undefined || lora_alpha === undefined);
  for (const name of PATTERNS) {
    const own = rest.flatMap(({ key }) => (now[name][key] === undefined ? [] : [[key, now[name][key]] as const]));
    if (own.length > 0) pairs.push([name, JSON.stringify(Object.fromEntries(own))]);
  }
  return pairs;
}

/** Escaped no more than an address needs. */
const readable = (value: string) =>
  encodeURIComponent(value).replace(/%(2C|2F|3A|40)/g, (code) => decodeURIComponent(code));

/** Reads an address; nothing if it has no settings. */
export function fromHash(hash: string): Arrival | undefined {
  const text = hash.replace(/^#/, "");
  if (!/(^|&)v=/.test(text) || text.length > 50_000) return undefined;
  const pairs = new Map(new URLSearchParams(text.replaceAll("+", "%2B")));
  const version = pairs.get("v");
  if (version !== VERSION) {
    const notes = [
      `The address is of version ${cut(version ?? "")}; this page reads version ${VERSION}. It was left out.`,
    ];
    return { settings: {}, notes, isUnread: true };
  }
  const [settings, notes]: [Partial<Settings>, string[]] = [{}, []];
  const extras: [string, string][] = [];
  let [model, data, layers]: (string | undefined)[] = [];
  for (const [name, value] of pairs) {
    if (name === "v") continue;
    else if (name === "model" && parseHubName(value)) model = value;
    else if (name === "model")
      notes.push(`model ${cut(value)} was left out: it must be owner/name, with @revision if need be.`);
    else if (name === "data") data = value;
    else if (name === "layers") layers = value;
    else if (isSetting(name)) take(settings, notes, name, parse(name, value));
    else if (Object.hasOwn(EXTRAS, name)) extras.push([name, value]);
    else notes.push(`${cut(name)} was left out: this page has no such setting.`);
  }
  if (settings.r !== undefined && settings.lora_alpha === undefined) settings.lora_alpha = 2 * settings.r;
  if (layers !== undefined) takeLayers(settings, notes, layers);
  return { model, data, settings, extras, notes };
}

function parse(name: keyof Settings, value: string): unknown {
  switch (name) {
    case "target_modules":
      return value.split(",");
    case "lr_scheduler_type":
      return value;
    case "rank_pattern":
    case "alpha_pattern":
      try {
        return JSON.parse(value);
      } catch {
        return value;
      }
    default:
      if (value === "true" || value === "false") return value === "true";
      return value.trim() === "" || Number.isNaN(Number(value)) ? value : Number(value);
  }
}

function takeLayers(settings: Partial<Settings>, notes: string[], text: string): void {
  let now: Patterns = { rank_pattern: settings.rank_pattern ?? {}, alpha_pattern: settings.alpha_pattern ?? {} };
  for (const part of text.split(",")) {
    const found = LAYERS.exec(part);
    const [from, to, r, lora_alpha] = (found?.slice(1) ?? []).map((item) =>
      item === undefined ? undefined : Number(item),
    );
    const last = to ?? from;
    if (from === undefined || last === undefined || last < from || !r || lora_alpha === undefined) {
      notes.push(`layers ${cut(part)} was left out: it must be first-last:rank:alpha, such as 0-3:8:16.`);
    } else {
      now = withLayers(now, from, last, r, lora_alpha);
    }
  }
  Object.assign(settings, now);
}
