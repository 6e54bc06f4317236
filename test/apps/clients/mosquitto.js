import mqtt from "mqtt";
import { assert, finish, idle, large, until, within, ws } from "./client.js";

const topic = `topic/${process.pid}`;
const connect = () => within(60, "connect", mqtt.connectAsync(`${ws}/mqtt`));
const client = await connect();
let closes = 0;
client.on("close", () => { closes++; });
const received = [];
client.on("message", (_, payload) => received.push(payload.toString()));
await client.subscribeAsync(topic, { qos: 2 });
const publish = async (text) => {
  await within(60, "publish", client.publishAsync(topic, text, { qos: 2, retain: true }));
  await until("it is delivered", () => received.includes(text));
};
await publish("first");
const text = large(200_000); // by WebSocket it sends little at a time
await publish(text);
await idle();
const other = await connect();
other.on("message", (_, payload) => received.push(`retained ${payload.length}`));
await other.subscribeAsync(topic);
await until("the large one is retained", () => received.includes(`retained ${text.length}`));
await publish("last");
assert.equal(closes, 0, "it had to connect again");
await other.endAsync();
await client.endAsync();
finish();
