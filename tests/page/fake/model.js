// What the fake engine makes of models.

/** What the page is shown of a .gguf file. */
export const GGUF = {
  parameters: 1e6,
  num_hidden_layers: 4,
  vocab_size: 512,
  max_position_embeddings: 256,
  has_chat_template: false,
  target_modules: ["q_proj"],
  refused_formats: { merged: "a GGUF file cannot be merged into (fake)" },
  check_sum: true,
};

/** Reads a model as the engine does, several slices at a time. */
export async function checkSum(files) {
  const slice = 2 ** 20;
  let sum = 7;
  for (const { blob } of files) {
    const starts = Array.from({ length: Math.ceil(blob.size / slice) }, (_, i) => i * slice);
    const read = async (at) => {
      const end = Math.min(blob.size, at + slice);
      return blob.read ? await blob.read(at, end - at) : new Uint8Array(await blob.slice(at, end).arrayBuffer());
    };
    for (const bytes of await Promise.all(starts.map(read))) {
      for (const byte of bytes) sum = (sum * 31 + byte) % 1_000_003;
    }
  }
  return sum;
}

/** A merged model is the base's name and the adapter's weights; `kind` is what it is to show. */
export async function mergeCheck({ weights }, model, kind) {
  const bytes = new Uint8Array(await weights[0].blob.arrayBuffer());
  const isRight = new TextDecoder().decode(bytes.slice(0, 4)) === "base" && bytes.slice(4).every((byte, i) => byte === model[i]);
  return { max_difference: isRight && kind === "checked" ? 0.0123 : 7, allowed: 0.5, effect: 3, dtype: "bfloat16" };
}
