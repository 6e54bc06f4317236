// A server for clients that reconnect. Arguments: its kind, port and name. Whatever the protocol, it tells its clients the name.
import { once } from "node:events";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { WebSocketServer } from "ws";
import { protocols } from "./protocols.js";

const require = createRequire(import.meta.url);
const [kind, port, name] = process.argv.slice(2);
const period = 200; // milliseconds from one time that it tells its name to the next
const web = createServer((request, response) => response.writeHead(404).end());
const repeat = (tell, socket) => {
  const timer = setInterval(tell, period);
  socket?.on("close", () => clearInterval(timer));
};

// Those of libraries that have a server; protocols.js has the others.
const libraries = {
  async "graphql-ws"() {
    const { useServer } = await import("graphql-ws/use/ws");
    useServer({ schema: await schema() }, new WebSocketServer({ server: web }));
  },
  async "subscriptions-transport-ws"() {
    const { execute, subscribe } = await import("graphql");
    const { SubscriptionServer } = require("subscriptions-transport-ws");
    SubscriptionServer.create({ schema: await schema(), execute, subscribe }, { server: web, path: "/" });
  },
  async trpc() {
    const { initTRPC } = await import("@trpc/server");
    const { applyWSSHandler } = await import("@trpc/server/adapters/ws");
    const t = initTRPC.create();
    applyWSSHandler({ wss: new WebSocketServer({ server: web }), router: t.router({ name: t.procedure.query(() => name) }) });
  },
  async "socket.io"() {
    const { Server } = await import("socket.io");
    const io = new Server(web);
    repeat(() => io.emit("name", name));
  },
  async colyseus() {
    const { Room, Server } = await import("@colyseus/core");
    const { WebSocketTransport } = await import("@colyseus/ws-transport");
    const server = new Server({ transport: new WebSocketTransport({ server: web }), greet: false });
    server.define("game", class extends Room {
      onCreate() { this.clock.setInterval(() => this.broadcast("name", name), period); }
    });
    await server.listen(Number(port), "127.0.0.1");
  },
  async mqtt() {
    const { Aedes } = await import("aedes");
    const { createWebSocketStream } = await import("ws");
    const broker = await Aedes.createBroker();
    new WebSocketServer({ server: web }).on("connection", (socket, request) => broker.handle(createWebSocketStream(socket), request));
    repeat(() => broker.publish({ topic: "name", payload: name }));
  },
  async sockjs() {
    const sockjs = require("sockjs");
    const server = sockjs.createServer({ log() {} });
    server.on("connection", (connection) => protocols.stomp(connection, (text) => connection.write(text), "data", name, repeat));
    server.installHandlers(web);
  },
  async primus() {
    const Primus = require("primus");
    const server = new Primus(web, { transformer: "websockets" });
    server.on("connection", (spark) => { const timer = setInterval(() => spark.write(name), period); spark.on("end", () => clearInterval(timer)); });
  },
  async faye() {
    const { NodeAdapter } = require("faye");
    const bayeux = new NodeAdapter({ mount: "/", timeout: 45 });
    bayeux.attach(web);
    repeat(() => bayeux.getClient().publish("/name", name));
  },
  async "y-websocket"() {
    const { docs, setupWSConnection } = require("../node_modules/y-websocket/bin/utils.js");
    new WebSocketServer({ server: web }).on("connection", setupWSConnection);
    repeat(() => docs.get("document")?.getMap("names").set(name, true));
  },
  async hocuspocus() {
    const { Hocuspocus } = await import("@hocuspocus/server");
    const hocuspocus = new Hocuspocus({ quiet: true });
    new WebSocketServer({ server: web }).on("connection", (socket, request) => hocuspocus.handleConnection(socket, request));
    repeat(() => hocuspocus.documents.get("document")?.getMap("names").set(name, true));
  },
  async "json-rpc"() {
    const { Server } = await import("rpc-websockets");
    const server = new Server({ server: web });
    server.register("name", () => name);
  },
};

// schema has a query and a subscription for the name.
async function schema() {
  const { GraphQLObjectType, GraphQLSchema, GraphQLString } = await import("graphql");
  return new GraphQLSchema({
    query: new GraphQLObjectType({ name: "Query", fields: { name: { type: GraphQLString, resolve: () => name } } }),
    subscription: new GraphQLObjectType({ name: "Subscription", fields: { name: { type: GraphQLString, resolve: () => name, subscribe: async function* () {
      for (;; await new Promise((resolve) => { setTimeout(resolve, period); })) yield name;
    } } } }),
  });
}

if (libraries[kind]) {
  await libraries[kind]();
} else {
  const { [kind]: speak, subprotocols = {} } = protocols;
  const wanted = subprotocols[kind];
  new WebSocketServer({ server: web, handleProtocols: (offered) => (offered.has(wanted) ? wanted : false) })
    .on("connection", (socket) => speak(socket, (text) => socket.send(text), "message", name, repeat));
}
if (!web.listening) {
  web.listen(Number(port), "127.0.0.1");
  await once(web, "listening");
}
