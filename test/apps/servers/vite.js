// Vite's development server, with a page whose modules are replaced as their files change.
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "vite";

const [port, directory] = process.argv.slice(2);
mkdirSync(`${directory}/src`);
writeFileSync(`${directory}/index.html`, `<!doctype html><title>Vite</title><p id="http"></p><p id="https"></p><p id="size"></p><script type="module" src="/src/main.js"></script>`);
writeFileSync(`${directory}/src/main.js`, `
import { text as http } from "./http.js";
import { text as https } from "./https.js";
import { large } from "./large.js";
const show = (id, text) => { document.querySelector(id).textContent = text; };
show("#http", http);
show("#https", https);
show("#size", large.length);
import.meta.hot.accept("./http.js", (module) => { show("#http", module.text); });
import.meta.hot.accept("./https.js", (module) => { show("#https", module.text); });
`);
for (const name of ["http", "https"]) writeFileSync(`${directory}/src/${name}.js`, `export const text = "as it was";`);
writeFileSync(`${directory}/src/large.js`, `export const large = "${"x".repeat(8_000_000)}";`);
const server = await createServer({
  root: directory, configFile: false, logLevel: "error", cacheDir: `${directory}/.vite`,
  server: { host: "127.0.0.1", port: Number(port), strictPort: true, watch: { usePolling: true, interval: 100 } },
});
await server.listen();
