import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";

/** What the page may load. Everything comes from where the page itself came from. */
const CONTENT_SECURITY_POLICY: Record<string, string> = {
  "default-src": "'none'",
  "script-src": "'self' 'wasm-unsafe-eval'",
  "style-src": "'self'",
  "img-src": "'self' data:",
  "connect-src": "'self'",
  "worker-src": "'self'",
  "base-uri": "'none'",
  "form-action": "'none'",
};

function policy(overrides: Record<string, string> = {}): string {
  return Object.entries({ ...CONTENT_SECURITY_POLICY, ...overrides })
    .map(([directive, value]) => `${directive} ${value}`)
    .join("; ");
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
        ? policy({ "style-src": "'self' 'unsafe-inline'", "connect-src": "'self' ws:" })
        : policy();
      return [
        { tag: "meta", attrs: { "http-equiv": "Content-Security-Policy", content }, injectTo: "head-prepend" },
      ];
    },
  };
}

export default defineConfig({
  root: fileURLToPath(new URL(".", import.meta.url)),
  // Relative addresses: the built page works from any folder of any static host.
  base: "./",
  // One page: a missing file is a 404, not the page again.
  appType: "mpa",
  plugins: [contentSecurityPolicy()],
  resolve: {
    alias: { "postil-engine": fileURLToPath(new URL("pkg/postil.js", import.meta.url)) },
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
    // A worker does not inherit the page's policy: a host that can set headers should send it as one too.
    headers: { "Content-Security-Policy": policy(), "X-Content-Type-Options": "nosniff" },
  },
});
