import { HocuspocusProvider } from "@hocuspocus/provider";
import { WebSocket } from "ws";
import * as Y from "yjs";
import { ws } from "./client.js";
import { edit } from "./document.js";

globalThis.WebSocket = WebSocket;
await edit(Y, (document) => new HocuspocusProvider({ url: ws, name: `document-${process.pid}`, document }), (provider) => provider.isSynced);
