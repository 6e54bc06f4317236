import { createRequire } from "node:module";
import { WebSocket } from "ws";
import { edit } from "./document.js";
import { ws } from "./client.js";

// The server's copy of Yjs is the one that require finds.
const require = createRequire(import.meta.url);
const Y = require("yjs");
const { WebsocketProvider } = require("y-websocket");
await edit(Y, (doc) => new WebsocketProvider(ws, `document-${process.pid}`, doc, { WebSocketPolyfill: WebSocket, disableBc: true }),
  (provider) => provider.wsconnected && provider.synced);
