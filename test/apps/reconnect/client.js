// A client that reconnects by itself. Arguments: the library, the URL. It prints the name of the server that it talks to, a line a change.
import { createRequire } from "node:module";
import { WebSocket } from "ws";

const require = createRequire(import.meta.url);
const [library, http] = process.argv.slice(2);
const ws = http.replace(/^http/, "ws");
const period = 200;

// What libraries for browsers expect there.
globalThis.WebSocket = WebSocket;

let last;
const tell = (name) => {
  if (name === last) return;
  last = name;
  console.log(`name ${name}`);
};
// ask asks a plain server for its name, again and again, while the socket is open.
const ask = (isOpen, send) => setInterval(() => { if (isOpen()) send("name"); }, period);
const every = (f) => setInterval(() => f().then(tell, () => {}), period);

const libraries = {
  async "reconnecting-websocket"() {
    const { default: ReconnectingWebSocket } = await import("reconnecting-websocket");
    const socket = new ReconnectingWebSocket(ws);
    socket.onmessage = (e) => tell(e.data.toString());
    ask(() => socket.readyState === 1, (text) => socket.send(text));
  },
  async partysocket() {
    const { WebSocket: ReconnectingWebSocket } = await import("partysocket");
    const socket = new ReconnectingWebSocket(ws, [], { WebSocket });
    socket.addEventListener("message", (e) => tell(e.data.toString()));
    ask(() => socket.readyState === 1, (text) => socket.send(text));
  },
  async "robust-websocket"() {
    globalThis.window = globalThis;
    Object.defineProperty(globalThis, "navigator", { value: { onLine: true }, configurable: true });
    globalThis.addEventListener = () => {};
    globalThis.removeEventListener = () => {};
    const RobustWebSocket = require("robust-websocket");
    const socket = new RobustWebSocket(ws);
    socket.addEventListener("message", (e) => tell(e.data.toString()));
    ask(() => socket.readyState === 1, (text) => socket.send(text));
  },
  async rxjs() {
    const { retry } = await import("rxjs");
    const { webSocket } = await import("rxjs/webSocket");
    const subject = webSocket({ url: ws, WebSocketCtor: WebSocket, deserializer: (e) => e.data.toString() });
    subject.pipe(retry({ delay: 500 })).subscribe({ next: tell, complete: () => console.log("complete") });
    setInterval(() => subject.next("name"), period);
  },
  async sarus() {
    const { default: Sarus } = await import("@anephenix/sarus");
    const socket = new Sarus({ url: ws, exponentialBackoff: { backoffRate: 2, backoffLimit: 5000 } });
    socket.on("message", (e) => tell(e.data.toString()));
    ask(() => socket.ws?.readyState === 1, (text) => socket.send(text));
  },
  async "ws-reconnect"() {
    const Client = require("ws-reconnect");
    const client = new Client(ws, { retryCount: 1000, reconnectInterval: 1 });
    client.on("message", (data) => tell(data.toString()));
    client.on("error", () => {});
    client.start();
    ask(() => client.isConnected, (text) => client.socket.send(text));
  },
  async "graphql-ws"() {
    const { createClient } = await import("graphql-ws");
    const client = createClient({ url: ws, webSocketImpl: WebSocket, retryAttempts: 100 });
    client.subscribe({ query: "subscription { name }" }, { next: (v) => tell(v.data.name), error: (e) => console.log("error", e), complete: () => console.log("complete") });
  },
  async "subscriptions-transport-ws"() {
    const { SubscriptionClient } = require("subscriptions-transport-ws");
    const client = new SubscriptionClient(ws, { reconnect: true }, WebSocket);
    client.request({ query: "subscription { name }" }).subscribe({ next: (v) => tell(v.data.name) });
  },
  async trpc() {
    const { createTRPCClient, createWSClient, wsLink } = await import("@trpc/client");
    const client = createTRPCClient({ links: [wsLink({ client: createWSClient({ url: ws }) })] });
    every(() => client.name.query());
  },
  async "socket.io"() {
    const { io } = await import("socket.io-client");
    io(http, { transports: ["websocket"] }).on("name", tell);
  },
  async colyseus() {
    const { Client } = await import("colyseus.js");
    // A room ends with its server: who was in it joins another one.
    const join = async () => {
      try {
        const room = await new Client(http).joinOrCreate("game");
        room.onMessage("name", tell);
        room.onLeave(join);
      } catch {
        setTimeout(join, 1000);
      }
    };
    await join();
  },
  async mqtt() {
    const { default: mqtt } = await import("mqtt");
    const client = mqtt.connect(ws);
    client.on("error", () => {});
    client.on("message", (_, payload) => tell(payload.toString()));
    client.subscribe("name");
  },
  async sockjs() {
    globalThis.location = new URL(http);
    const SockJS = require("sockjs-client");
    await stomp({ webSocketFactory: () => new SockJS(`${http}/`, null, { transports: ["websocket"] }) });
  },
  stomp: () => stomp({ brokerURL: ws }),
  async primus() {
    const Primus = require("primus");
    const Socket = Primus.createSocket({ transformer: "websockets" });
    new Socket(http).on("data", tell);
  },
  async faye() {
    const { Client } = require("faye");
    await new Client(http).subscribe("/name", tell);
  },
  "y-websocket": () => {
    const { Doc } = require("yjs");
    const { WebsocketProvider } = require("y-websocket");
    const doc = new Doc();
    names(doc);
    new WebsocketProvider(ws, "document", doc, { WebSocketPolyfill: WebSocket, disableBc: true });
  },
  async hocuspocus() {
    const { HocuspocusProvider } = await import("@hocuspocus/provider");
    const { Doc } = await import("yjs");
    const document = new Doc();
    names(document);
    new HocuspocusProvider({ url: ws, name: "document", document });
  },
  async "json-rpc"() {
    const { Client } = await import("rpc-websockets");
    const client = new Client(ws, { max_reconnects: 0 }); // no limit
    client.on("error", () => {});
    every(() => client.call("name", []));
  },
  async phoenix() {
    const { Socket } = await import("phoenix");
    const socket = new Socket(`${ws}/socket`, { transport: WebSocket });
    socket.connect();
    const channel = socket.channel("room:lobby");
    channel.on("name", ({ name }) => tell(name));
    channel.join();
  },
  async actioncable() {
    globalThis.addEventListener = () => {};
    globalThis.removeEventListener = () => {};
    globalThis.document = { visibilityState: "visible", addEventListener() {}, removeEventListener() {}, createElement: () => ({}), head: { querySelector: () => null } };
    const { adapters, createConsumer } = await import("@rails/actioncable");
    adapters.WebSocket = WebSocket;
    createConsumer(ws).subscriptions.create("NameChannel", { received: tell });
  },
  async signalr() {
    const { HttpTransportType, HubConnectionBuilder, LogLevel } = require("@microsoft/signalr");
    const connection = new HubConnectionBuilder().withUrl(http, { skipNegotiation: true, transport: HttpTransportType.WebSockets })
      .withAutomaticReconnect().configureLogging(LogLevel.Error).build();
    connection.on("name", tell);
    await connection.start();
  },
  async centrifuge() {
    const { Centrifuge } = await import("centrifuge");
    const client = new Centrifuge(ws, { websocket: WebSocket });
    client.on("error", () => {});
    client.connect();
    every(async () => (await client.rpc("name", {})).data);
  },
  async nats() {
    const { connect } = require("nats.ws");
    const connection = await connect({ servers: ws, maxReconnectAttempts: -1 });
    every(async () => { await connection.flush(); return connection.info.server_name; });
  },
  async wamp() {
    const autobahn = require("autobahn");
    const connection = new autobahn.Connection({ url: ws, realm: "realm" });
    connection.onopen = (session) => every(async () => session.call("name"));
    connection.open();
  },
  async pusher() {
    const Pusher = require("pusher-js");
    const { hostname, port } = new URL(http);
    const pusher = new Pusher("key", { cluster: "", wsHost: hostname, wsPort: port, forceTLS: false, enabledTransports: ["ws"], enableStats: false });
    pusher.subscribe("names").bind("name", tell);
  },
};

// stomp is StompJS over any socket.
async function stomp(options) {
  const { Client } = await import("@stomp/stompjs");
  const client = new Client(options);
  client.onConnect = () => client.subscribe("/name", (message) => tell(message.body));
  client.activate();
}

// names tells the newest name in a document.
function names(doc) {
  const seen = new Set();
  doc.getMap("names").observe((e) => {
    for (const name of e.keysChanged) {
      if (!seen.has(name)) tell(name);
      seen.add(name);
    }
  });
}

await libraries[library]();
