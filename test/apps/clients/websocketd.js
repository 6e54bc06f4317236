// websocketd runs cat: each line that is sent comes back.
import { WebSocket } from "ws";
import { assert, finish, idle, large, within, ws } from "./client.js";

const socket = new WebSocket(ws);
await within(60, "open", new Promise((resolve) => socket.once("open", resolve)));
let closed = 0;
socket.on("close", (code) => { closed = code; });
const say = async (text) => {
  const answer = new Promise((resolve) => socket.once("message", (data) => resolve(data.toString())));
  socket.send(text);
  assert.equal(await within(60, "answer", answer), text);
};
await say("first");
await say(large(1_000_000));
await idle();
await say("last");
assert.equal(closed, 0, "it was closed");
socket.close(1000);
finish();
