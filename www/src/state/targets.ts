/** Well-known choices of target modules. */

export interface TargetSet {
  id: string;
  title: string;
  target_modules: readonly string[];
}

/** Names of the modules of attention in every family: apart, fused (Phi-3), and GPT-2's. */
const ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "c_attn", "attn.c_proj"];

/** What the modules do, and when to change which of them have an adapter; of the families' names those that a model has. */
export function aboutModules(modules: readonly string[]): string[] {
  const attention = modules.filter((name) => ATTENTION.includes(name));
  const others = modules.filter((name) => !ATTENTION.includes(name));
  const names = (list: readonly string[]) => list.map((name) => name.replace(/_proj$/, "")).join(", ");
  return [
    ...(attention.length > 0
      ? [`Attention (${names(attention)}) decides what each token looks at: alone it is enough for a tone or a form, in a smaller file.`]
      : []),
    ...(others.length > 0
      ? [`The rest (${names(others)}) holds most of what a model knows: leave it in for new matter, take it out if memory is short or few examples are learned by heart.`]
      : []),
  ];
}

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
