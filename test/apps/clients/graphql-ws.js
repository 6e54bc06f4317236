import { createClient } from "graphql-ws";
import { WebSocket } from "ws";
import { assert, finish, idle, large, until, within, ws } from "./client.js";

const closes = [];
const client = createClient({ url: `${ws}/graphql`, webSocketImpl: WebSocket, lazy: false, on: { closed: (e) => closes.push(e.code) } });
const ask = (query, variables) => within(60, query, new Promise((resolve, reject) => {
  let answer;
  client.subscribe({ query, variables }, { next: (v) => { answer = v.data; }, error: reject, complete: () => resolve(answer) });
}));
const said = [];
client.subscribe({ query: "subscription { said }" }, { next: (v) => said.push(v.data.said), error: (e) => { throw e; }, complete() {} });
const say = (text) => ask("mutation ($text: String) { say(text: $text) }", { text });

const mark = `first of ${process.pid}`;
await until("the subscription works", async () => { await say(mark); return said.includes(mark); });
assert.equal((await ask("{ text(length: 20000000) }")).text.length, 20_000_000);
const text = large(5_000_000);
assert.equal((await say(text)).say, text);
await until("the large text is told", () => said.includes(text));
await idle();
const last = `last of ${process.pid}`;
await say(last);
await until("the last is told", () => said.includes(last));
assert.deepEqual(closes, []);
await client.dispose();
finish();
