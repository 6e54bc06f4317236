// webpack's development server, with a page whose modules are replaced as their files change.
import { mkdirSync, writeFileSync } from "node:fs";
import webpack from "webpack";
import WebpackDevServer from "webpack-dev-server";

const [port, directory] = process.argv.slice(2);
mkdirSync(`${directory}/src`);
mkdirSync(`${directory}/public`);
writeFileSync(`${directory}/public/index.html`, `<!doctype html><title>webpack</title><p id="http"></p><p id="https"></p><p id="size"></p><script src="/main.js"></script>`);
writeFileSync(`${directory}/src/main.js`, `
import { text as http } from "./http.js";
import { text as https } from "./https.js";
import { large } from "./large.js";
const show = (id, text) => { document.querySelector(id).textContent = text; };
show("#http", http);
show("#https", https);
show("#size", large.length);
module.hot.accept("./http.js", () => { show("#http", http); });
module.hot.accept("./https.js", () => { show("#https", https); });
`);
for (const name of ["http", "https"]) writeFileSync(`${directory}/src/${name}.js`, `export const text = "as it was";`);
writeFileSync(`${directory}/src/large.js`, `export const large = "${"x".repeat(2_000_000)}";`);
const compiler = webpack({
  mode: "development", devtool: false, context: directory, entry: "./src/main.js", output: { path: `${directory}/out`, filename: "main.js" },
  watchOptions: { poll: 100 }, infrastructureLogging: { level: "error" }, stats: "errors-only", performance: false,
});
const server = new WebpackDevServer({
  host: "127.0.0.1", port: Number(port), hot: true, static: { directory: `${directory}/public`, watch: false },
  client: { webSocketURL: "auto://0.0.0.0:0/ws", logging: "error" },
}, compiler);
await server.start();
