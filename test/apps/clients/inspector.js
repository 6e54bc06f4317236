// Node's inspector, by chrome-remote-interface.
import CDP from "chrome-remote-interface";
import { assert, finish, http, idle, within } from "./client.js";

const { hostname, port, protocol } = new URL(http);
const [target] = await CDP.List({ host: hostname, port, secure: protocol === "https:" });
const client = await CDP({ target: target.webSocketDebuggerUrl.replace(/^ws:/, protocol === "https:" ? "wss:" : "ws:"), local: true });
let isLost = false;
client.on("disconnect", () => { isLost = true; });

// chrome-remote-interface expects an answer only after the write of its question is complete, and loses one that comes before: over TLS
// some do. So it asks again.
async function evaluate(expression, tries = 4) {
  try {
    return (await within(30, expression, client.Runtime.evaluate({ expression }))).result.value;
  } catch (err) {
    if (tries === 1 || isLost) throw err;
    return evaluate(expression, tries - 1);
  }
}

assert.equal(await evaluate("6 * 7"), 42);
assert.equal((await evaluate("'x'.repeat(20_000_000)")).length, 20_000_000);
await idle();
assert.equal(isLost, false, "it has lost its connection");
assert.equal(await evaluate("6 * 9"), 54);
await client.close();
finish();
