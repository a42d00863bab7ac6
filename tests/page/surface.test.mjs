// What must agree: the engine's types, the real module and the fake one; kinds of errors and their classes; who imports what.
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { here, www } from "./harness.mjs";

/** Methods of a class in a file of types, with how many parameters each has. */
function declared(text, name) {
  const body = text.slice(text.indexOf(`export class ${name} {`)).split("\n}")[0];
  const methods = {};
  for (const match of body.matchAll(/^ {2}(?:static )?(\w+)\(/gm)) {
    let depth = 0;
    let parameters = 0;
    let isEmpty = true;
    for (const letter of body.slice(match.index + match[0].length)) {
      if (letter === ")" && depth === 0) break;
      if ("([{<".includes(letter)) depth += 1;
      else if (")]}".includes(letter)) depth -= 1;
      else if (letter === "," && depth === 0) {
        parameters += isEmpty ? 0 : 1;
        isEmpty = true;
      } else if (/\S/.test(letter)) isEmpty = false;
    }
    methods[match[1]] = parameters + (isEmpty ? 0 : 1);
  }
  return methods;
}

/** Methods that a class has, with how many parameters each takes. */
function found(type) {
  const own = (of) => Object.getOwnPropertyNames(of).filter((name) => !/^(__.*|constructor|prototype|length|name|free)$/.test(name));
  const names = [...own(type).map((name) => [name, type[name]]), ...own(type.prototype).map((name) => [name, type.prototype[name]])];
  return Object.fromEntries(names.map(([name, method]) => [name, method.length]));
}

const sorted = (methods) => Object.fromEntries(Object.entries(methods).sort());

test("the module has the methods that its types say, and the fake engine too", async () => {
  const types = declared(await readFile(join(www, "lib", "engine.d.ts"), "utf8"), "Engine");
  assert.ok(Object.keys(types).length > 20, Object.keys(types).join(" "));
  const real = await import(join(www, "pkg", "postil.js"));
  assert.deepEqual(sorted(found(real.Engine)), sorted(types));
  const fake = found((await import(join(here, "fake", "engine.js"))).Engine);
  assert.deepEqual(Object.keys(sorted(fake)), Object.keys(sorted(types)));
  // It may leave out what it does not look at.
  for (const [name, parameters] of Object.entries(fake)) assert.ok(parameters <= types[name], name);
});

test("every kind of the engine's errors has a class", async () => {
  const rust = await readFile(join(here, "..", "..", "src", "error.rs"), "utf8");
  const [, variants] = /pub enum ErrorKind \{([^}]+)\}/.exec(rust);
  const kinds = [...variants.matchAll(/^ {4}(\w+),$/gm)].map(([, kind]) => kind);
  assert.ok(kinds.length >= 10);
  const typescript = await readFile(join(www, "lib", "errors.ts"), "utf8");
  const table = /export const ERRORS[^{]+\{([^}]+)\}/.exec(typescript)[1];
  for (const kind of kinds) assert.match(table, new RegExp(`^ {2}${kind}: \\w+Error,$`, "m"));
});

async function sources(folder) {
  const names = await readdir(join(www, folder), { recursive: true });
  const wanted = names.filter((name) => /\.tsx?$/.test(name));
  return await Promise.all(wanted.map(async (name) => ({ name: join(folder, name), text: await readFile(join(www, folder, name), "utf8") })));
}

const IMPORT = /(?:from|import\(|import) ?"([^"]+)"/g;

test("the page uses nothing of the engine but the package", async () => {
  for (const { name, text } of await sources("src")) {
    const inside = name.split("/").length - 2;
    for (const [, from] of text.matchAll(IMPORT)) {
      assert.ok(from !== "postil-engine", `${name} imports ${from}`);
      const up = from.split("/").filter((part) => part === "..").length;
      assert.ok(up <= inside, `${name} imports ${from}, which is not in src/`);
    }
    assert.doesNotMatch(text, /new Worker\(|\.wasm"/, name);
  }
});

test("only what is in session/ writes state", async () => {
  const state = (await sources(join("src", "state"))).map(({ text }) => text).join("\n");
  const signals = [...state.matchAll(/^export const (\w+) = signal/gm)].map(([, name]) => name);
  assert.ok(signals.length > 50, signals.join(" "));
  // On the left of an assignment.
  const written = new RegExp(`(?<![\\w.])(${signals.join("|")})\\.value\\s*(=(?!=)|\\+=|-=|\\?\\?=|\\+\\+|--)`);
  for (const { name, text } of await sources(join("src", "components"))) {
    // Signals of a view's own, of the same name.
    const own = [...text.matchAll(/const (\w+) = (?:useS|s)ignal/g)].map(([, name]) => name);
    const found = text.split("\n").filter((line) => own.every((name) => !line.includes(`${name}.value`)) && written.test(line));
    assert.deepEqual(found, [], name);
    assert.doesNotMatch(text, /^(export )?const \w+ = signal/m, `${name} has state of its own`);
  }
});

test("the package uses nothing of the page", async () => {
  for (const { name, text } of await sources("lib")) {
    for (const [, from] of text.matchAll(IMPORT)) {
      const isOwn = from.startsWith("./") || (from.startsWith("../") && name.startsWith(join("lib", "hub")));
      assert.ok(isOwn || ["fflate", "postil-engine"].includes(from), `${name} imports ${from}`);
    }
  }
});
