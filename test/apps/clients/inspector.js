// Node's inspector, by chrome-remote-interface.
import CDP from "chrome-remote-interface";
import { assert, finish, http, idle, within } from "./client.js";

const { hostname, port, protocol } = new URL(http);
const [target] = await CDP.List({ host: hostname, port, secure: protocol === "https:" });
const client = await CDP({ target: target.webSocketDebuggerUrl.replace(/^ws:/, protocol === "https:" ? "wss:" : "ws:"), local: true });
let isLost = false;
client.on("disconnect", () => { isLost = true; });
const evaluate = async (expression) => (await within(60, expression, client.Runtime.evaluate({ expression }))).result.value;
assert.equal(await evaluate("6 * 7"), 42);
assert.equal((await evaluate("'x'.repeat(20_000_000)")).length, 20_000_000);
await idle();
assert.equal(isLost, false, "it has lost its connection");
assert.equal(await evaluate("6 * 9"), 54);
await client.close();
finish();
