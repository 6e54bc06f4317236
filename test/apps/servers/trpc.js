// tRPC by its WebSocket adapter, with the keep-alive that its manual recommends.
import { on, EventEmitter } from "node:events";
import { initTRPC } from "@trpc/server";
import { applyWSSHandler } from "@trpc/server/adapters/ws";
import { WebSocketServer } from "ws";

const t = initTRPC.create();
const text = (value) => value;
const said = new EventEmitter();
said.setMaxListeners(0);
const router = t.router({
  echo: t.procedure.input(text).query(({ input }) => input),
  say: t.procedure.input(text).mutation(({ input }) => { said.emit("said", input); return input.length; }),
  said: t.procedure.subscription(async function* ({ signal }) {
    for await (const [what] of on(said, "said", { signal })) yield what;
  }),
});
applyWSSHandler({
  wss: new WebSocketServer({ host: "127.0.0.1", port: Number(process.argv[2]) }), router,
  keepAlive: { enabled: true, pingMs: 30_000, pongWaitMs: 5_000 },
});
