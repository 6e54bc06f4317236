import { WebSocket } from "ws";
import { assert, finish, http, idle, until, within } from "./client.js";

globalThis.WebSocket = WebSocket;
const { Client } = await import("colyseus.js");
const rooms = [];
for (let i = 0; i < 2; i++) rooms.push(await within(60, "join", new Client(http).joinOrCreate("game")));
let left = 0;
rooms.forEach((room) => room.onLeave(() => { left++; }));
const move = async (to) => {
  rooms[0].send("move", to);
  await until("the other player sees the move", () => rooms[1].state.players?.get(rooms[0].sessionId) === to);
};
await move(7);
let map = "";
rooms[1].onMessage("map", (text) => { map = text; });
rooms[1].send("map", 5_000_000);
await until("the map arrives", () => map.length === 5_000_000);
await idle();
await move(8);
assert.equal(left, 0, "it had to connect again");
await rooms[1].leave();
await rooms[0].leave();
finish();
