// JSON-RPC 2.0 by rpc-websockets: calls and events.
import { Server } from "rpc-websockets";

const server = new Server({ host: "127.0.0.1", port: Number(process.argv[2]) });
server.event("said");
server.register("echo", ([text]) => text);
server.register("say", ([text]) => { server.emit("said", text); return text.length; });
