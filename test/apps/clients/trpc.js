import { createTRPCClient, createWSClient, wsLink } from "@trpc/client";
import { WebSocket } from "ws";
import { assert, finish, idle, large, until, within, ws } from "./client.js";

globalThis.WebSocket = WebSocket;
let opened = 0;
const socket = createWSClient({ url: ws, keepAlive: { enabled: true, pongTimeoutMs: 30_000 }, onOpen: () => { opened++; } });
const client = createTRPCClient({ links: [wsLink({ client: socket })] });
const said = [];
client.said.subscribe(undefined, { onData: (what) => said.push(what), onError: (e) => { throw e; } });

const mark = `first of ${process.pid}`;
await until("the subscription works", async () => { await client.say.mutate(mark); return said.includes(mark); });
const text = large(20_000_000);
assert.equal(await within(60, "echo", client.echo.query(text)), text);
await idle();
const last = `last of ${process.pid}`;
await client.say.mutate(last);
await until("the last is told", () => said.includes(last));
assert.equal(opened, 1, "it had to connect again");
await socket.close();
finish();
