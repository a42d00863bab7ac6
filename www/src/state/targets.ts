/** Well-known choices of target modules. */

export interface TargetSet {
  id: string;
  title: string;
  target_modules: readonly string[];
}

/** Names of the modules of attention in every family: apart, fused (Phi-3), and GPT-2's. */
const ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "c_attn", "attn.c_proj"];

/** As far as a model with these modules has them. The pair that the LoRA paper adapts comes first. */
export function targetSets(modules: readonly string[]): TargetSet[] {
  const pair = ["q_proj", "v_proj"];
  const sets = [
    { id: "qv", title: "attention q, v", target_modules: pair.every((name) => modules.includes(name)) ? pair : [] },
    { id: "attention", title: "attention", target_modules: modules.filter((name) => ATTENTION.includes(name)) },
    { id: "all", title: "all linear", target_modules: modules },
  ];
  return sets.filter(({ target_modules }) => target_modules.length > 0);
}
