// A kernel and a terminal, by JupyterLab's own library.
import { PageConfig } from "@jupyterlab/coreutils";
import { KernelManager, ServerConnection, TerminalManager } from "@jupyterlab/services";
import { WebSocket } from "ws";
import { assert, finish, http, idle, large, until, within, ws } from "./client.js";

PageConfig.setOption("terminalsAvailable", "true");
const serverSettings = ServerConnection.makeSettings({ baseUrl: `${http}/`, wsUrl: `${ws}/`, token: "secret", WebSocket, fetch });
const kernel = await within(60, "kernel", new KernelManager({ serverSettings }).startNew({ name: "python3" }));
const states = [];
kernel.connectionStatusChanged.connect((_, state) => states.push(state));
const run = async (code) => {
  let output = "";
  const future = kernel.requestExecute({ code });
  future.onIOPub = (m) => { if (m.header.msg_type === "stream") output += m.content.text; };
  const reply = await within(60, "reply", future.done);
  assert.equal(reply.content.status, "ok");
  return output;
};
const terminal = await within(60, "terminal", new TerminalManager({ serverSettings }).startNew());
let shown = "";
terminal.messageReceived.connect((_, m) => { if (m.type === "stdout") shown += m.content.join(""); });
const type = async (text, wanted) => {
  terminal.send({ type: "stdin", content: [`${text}\r`] });
  await until(`the terminal shows ${wanted}`, () => shown.includes(wanted));
};
assert.equal(await run("print(6 * 7)"), "42\n");
assert.equal((await run("print('x' * 8_000_000)")).length, 8_000_001);
assert.equal(await run(`print(len("${large(5_000_000)}"))`), "5000000\n");
await type("echo $((6 * 7))first", "42first");
await type("seq 200000; echo $((6 * 7))seq", "42seq");
states.length = 0;
await idle();
assert.equal(await run("print(6 * 9)"), "54\n");
await type("echo $((6 * 7))last", "42last");
assert.deepEqual(states, [], "it had to connect again");
await kernel.shutdown();
await terminal.shutdown();
finish();
