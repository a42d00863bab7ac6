import { fileURLToPath } from "node:url";
import { defineConfig, loadEnv, type Plugin } from "vite";
import { VitePWA } from "vite-plugin-pwa";

const root = fileURLToPath(new URL(".", import.meta.url));

/**
 * A self-hosted Hub: `VITE_HUB_ADDRESS` is the one that the page asks unless told otherwise, `VITE_HUB_ORIGINS` is the
 * list (with spaces) of further origins that it may ask or be redirected to. Both are set when the page is built, in
 * the environment or in `.env`.
 */
const { VITE_HUB_ADDRESS, VITE_HUB_ORIGINS } = loadEnv("production", root);

/** The Hugging Face Hub and the servers that it redirects to. */
const HUB = ["https://huggingface.co", "https://*.huggingface.co", "https://hf.co", "https://*.hf.co"];
const OWN_HUB = [VITE_HUB_ADDRESS ? new URL(VITE_HUB_ADDRESS).origin : "", VITE_HUB_ORIGINS ?? ""];
const CONNECT = ["'self'", ...HUB, ...OWN_HUB].filter(Boolean).join(" ");

/** What the page may load. Everything comes from where the page itself came from, but for models asked for by name. */
const CONTENT_SECURITY_POLICY: Record<string, string> = {
  "default-src": "'none'",
  "script-src": "'self' 'wasm-unsafe-eval'",
  "style-src": "'self'",
  "img-src": "'self' data:",
  "connect-src": CONNECT,
  "worker-src": "'self'",
  "manifest-src": "'self'",
  "base-uri": "'none'",
  "form-action": "'none'",
};

function policy(overrides: Record<string, string> = {}): string {
  return Object.entries({ ...CONTENT_SECURITY_POLICY, ...overrides })
    .map(([directive, value]) => `${directive} ${value}`)
    .join("; ");
}

/** As a header: with what a page cannot say of itself. A worker does not inherit the page's policy, either. */
const HEADERS = {
  "Content-Security-Policy": policy({ "frame-ancestors": "'none'" }),
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
};

/** Writes the headers that a host should send as the file `_headers`, which several static hosts read. */
function headersFile(): Plugin {
  const lines = Object.entries(HEADERS).map(([name, value]) => `  ${name}: ${value}\n`);
  return {
    name: "headers-file",
    apply: "build",
    generateBundle() {
      this.emitFile({ type: "asset", fileName: "_headers", source: `/*\n${lines.join("")}` });
    },
  };
}

/** Puts the policy into the page. The dev server adds styles inline and talks over a web socket. */
function contentSecurityPolicy(): Plugin {
  let dev = false;
  return {
    name: "content-security-policy",
    configResolved(config) {
      dev = config.command === "serve" && !config.isProduction;
    },
    transformIndexHtml() {
      const content = dev
        ? policy({ "style-src": "'self' 'unsafe-inline'", "connect-src": `${CONNECT} ws:` })
        : policy();
      return [
        { tag: "meta", attrs: { "http-equiv": "Content-Security-Policy", content }, injectTo: "head-prepend" },
      ];
    },
  };
}

/**
 * The page works without a network once it has been opened. A new version waits until every tab of the old one is
 * closed: a run is never reloaded away.
 */
const offline = VitePWA({
  registerType: "prompt",
  injectRegister: "script-defer",
  workbox: {
    globPatterns: ["**/*.{html,js,css,svg,png,wasm,json,jsonl,safetensors,webmanifest}"],
    maximumFileSizeToCacheInBytes: 32 * 2 ** 20,
    cleanupOutdatedCaches: true,
  },
  manifest: {
    name: "Postil",
    short_name: "Postil",
    description: "Fine-tune a language model with LoRA in this browser tab, on your own GPU.",
    start_url: "./",
    scope: "./",
    display: "standalone",
    background_color: "#f7f4ec",
    theme_color: "#f7f4ec",
    icons: [
      { src: "icon.svg", sizes: "any", type: "image/svg+xml" },
      { src: "icon-192.png", sizes: "192x192", type: "image/png" },
      { src: "icon-512.png", sizes: "512x512", type: "image/png" },
      { src: "icon-maskable-512.png", sizes: "512x512", type: "image/png", purpose: "maskable" },
    ],
  },
});

export default defineConfig({
  root,
  // Relative addresses: the built page works from any folder of any static host.
  base: "./",
  // One page: a missing file is a 404, not the page again.
  appType: "mpa",
  plugins: [contentSecurityPolicy(), headersFile(), offline],
  resolve: {
    alias: {
      "postil-engine": fileURLToPath(new URL("pkg/postil.js", import.meta.url)),
      postil: fileURLToPath(new URL("lib/index.ts", import.meta.url)),
    },
  },
  worker: { format: "es" },
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: true,
    // Data addresses would need a wider policy, and save nothing here.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { host: "localhost" },
  preview: {
    host: "localhost",
    headers: HEADERS,
  },
});
