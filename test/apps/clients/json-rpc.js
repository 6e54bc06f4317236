import { Client } from "rpc-websockets";
import { assert, finish, idle, large, until, within, ws } from "./client.js";

const client = new Client(ws);
let closes = 0;
client.on("close", () => { closes++; });
await within(60, "open", new Promise((resolve) => client.on("open", resolve)));
const said = [];
await client.subscribe("said");
client.on("said", (text) => said.push(text));
const say = async (text) => {
  await client.call("say", [text]);
  await until("it is told", () => said.includes(text));
};
await say(`first of ${process.pid}`);
const text = large(20_000_000);
assert.equal(await within(60, "echo", client.call("echo", [text])), text);
await idle();
await say(`last of ${process.pid}`);
assert.equal(closes, 0, "it had to connect again");
finish();
