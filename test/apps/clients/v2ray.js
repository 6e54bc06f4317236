// v2ray's own client, a SOCKS proxy whose connections go through WebSockets; curl downloads by it.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { promisify } from "node:util";
import { assert, directory, finish, http, idle, large, until } from "./client.js";

const text = large(20_000_000);
const site = createServer(async (request, response) => {
  request.resume();
  response.write(text);
  if (request.url === "/pause") await idle();
  response.end(text);
}).listen(0, "127.0.0.1");
await once(site, "listening");
const socks = 30_000 + Math.floor(2000 * Math.random()); // not one of those that the kernel gives away

const { hostname, port, protocol } = new URL(http);
const own = mkdtempSync(`${directory}/client-`);
writeFileSync(`${own}/config`, JSON.stringify({
  log: { loglevel: "warning" },
  inbounds: [{ listen: "127.0.0.1", port: socks, protocol: "socks" }],
  outbounds: [{
    protocol: "vmess", settings: { vnext: [{ address: hostname, port: Number(port), users: [{ id: "b831381d-6324-4d53-ad4f-8cda48b30811" }] }] },
    streamSettings: { network: "ws", security: protocol === "https:" ? "tls" : "none" },
  }],
}));
const client = spawn("v2ray", ["-config", `${own}/config`], { stdio: "inherit", env: { ...process.env, SSL_CERT_FILE: process.env.NODE_EXTRA_CA_CERTS ?? "" } });
process.on("exit", () => client.kill());

const download = async (path, ...args) => {
  const file = `${own}/file`;
  await promisify(execFile)("curl", ["-sSf", "--max-time", "110", "--socks5-hostname", `127.0.0.1:${socks}`, "-o", file, ...args, `http://127.0.0.1:${site.address().port}${path}`]);
  return readFileSync(file, "utf8") === text + text;
};
await until("the proxy works", () => download("/").catch(() => false));
assert.ok(await download("/pause"), "the download with a pause differs");
writeFileSync(`${own}/upload`, text);
assert.ok(await download("/", "--data-binary", `@${own}/upload`), "the download after an upload differs");
finish();
