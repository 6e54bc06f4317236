// XMPP by @xmpp/client: two anonymous users.
import { client, xml } from "@xmpp/client";
import { WebSocket } from "ws";
import { assert, finish, idle, large, until, within, ws } from "./client.js";

globalThis.WebSocket = WebSocket;
let lost = 0;
const received = [];
const join = async () => {
  const user = client({ service: `${ws}/xmpp-websocket`, domain: "localhost" });
  user.on("error", (e) => { throw e; });
  user.on("disconnect", () => { lost++; });
  user.on("stanza", (stanza) => { if (stanza.is("message")) received.push(stanza.getChildText("body")); });
  const address = await within(60, "online", user.start());
  await user.send(xml("presence"));
  return { user, address: address.toString() };
};
const [one, other] = [await join(), await join()];
const say = async (text) => {
  await one.user.send(xml("message", { to: other.address, type: "chat" }, xml("body", {}, text)));
  await until("the message arrives", () => received.includes(text));
};
await say("first");
for (let i = 0; i < 20; i++) await say(`${i} ${large(200_000)}`); // a stanza has 256 KiB at most
await idle();
await say("last");
assert.equal(lost, 0, "it had to connect again");
finish();
