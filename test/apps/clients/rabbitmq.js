// STOMP by @stomp/stompjs.
import { Client } from "@stomp/stompjs";
import { WebSocket } from "ws";
import { assert, finish, idle, large, until, ws } from "./client.js";

globalThis.WebSocket = WebSocket;
let opened = 0;
const received = [];
const queue = `/queue/${process.pid}`;
const client = new Client({ brokerURL: `${ws}/ws`, connectHeaders: { login: "guest", passcode: "guest" }, heartbeatIncoming: 10_000, heartbeatOutgoing: 10_000 });
client.onConnect = () => {
  opened++;
  client.subscribe(queue, (message) => received.push(message.body));
};
client.onStompError = (frame) => { throw new Error(frame.body); };
client.activate();
await until("connected", () => client.connected);
const say = async (text) => {
  client.publish({ destination: queue, body: text });
  await until("the message arrives", () => received.includes(text));
};
await say("first");
await say(large(3_000_000));
await idle();
await say("last");
assert.equal(opened, 1, "it had to connect again");
await client.deactivate();
finish();
