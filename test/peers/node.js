// A peer made of Node's ws: it does what its stdin says and tells on stdout what happens, one JSON
// object a line. python.py has the same words; peer_test.go is who speaks them.

import { readFileSync } from "node:fs";
import { Agent, createServer } from "node:https";
import { createInterface } from "node:readline";
import { WebSocket, WebSocketServer } from "ws";

const connections = new Map(); // number → WebSocket; numbers begin at 1, in the order of opening

function tell(event) {
  process.stdout.write(JSON.stringify(event) + "\n");
}

function adopt(socket) {
  const conn = connections.size + 1;
  connections.set(conn, socket);
  socket.on("message", (data, isBinary) => tell({ event: "message", conn, isBinary, data: data.toString("base64") }));
  socket.on("ping", (data) => tell({ event: "ping", conn, data: data.toString("base64") }));
  socket.on("pong", (data) => tell({ event: "pong", conn, data: data.toString("base64") }));
  socket.on("error", (error) => tell({ event: "error", conn, message: error.message }));
  // It comes when the TCP connection has ended, too.
  socket.on("close", (code, reason) => tell({ event: "close", conn, code, reason: reason.toString() }));
  return conn;
}

// heartbeat pings a connection of a server every interval, in ms, and ends it if the last ping had no answer: as ws's README recommends,
// "How to detect and close broken connections?".
function heartbeat(socket, interval) {
  let isAlive = true;
  socket.on("pong", () => { isAlive = true; });
  const timer = setInterval(() => {
    if (!isAlive) return socket.terminate();
    isAlive = false;
    socket.ping();
  }, interval);
  socket.on("close", () => clearInterval(timer));
}

// expectPings ends a connection of a client once it has seen no ping for limit, in ms: the client's half of that recommendation.
function expectPings(socket, limit) {
  let timer;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => socket.terminate(), limit);
  };
  socket.on("open", heard);
  socket.on("ping", heard);
  socket.on("close", () => clearTimeout(timer));
}

const deflate = (wanted) => (wanted ? { threshold: 0 } : false);

// The options of TLS 1.3.
const secure = ({ suite, ...files }) => ({
  minVersion: "TLSv1.3",
  ciphers: suite || undefined,
  ...Object.fromEntries(Object.entries(files).filter(([, path]) => path).map(([name, path]) => [name, readFileSync(path)])),
});

// What was agreed on by TLS.
const agreed = (socket) => (socket.encrypted ? { suite: socket.getCipher().standardName, isResumed: socket.isSessionReused() } : {});

let agent; // keeps the sessions of TLS that this peer may resume

const actions = {
  serve({ subprotocols, deflate: wanted, pingEvery, tls }) {
    const server = tls && createServer(secure(tls)).listen(0, "127.0.0.1");
    const sockets = new WebSocketServer({
      ...(server ? { server } : { host: "127.0.0.1", port: 0 }),
      perMessageDeflate: deflate(wanted),
      handleProtocols: (offered) => subprotocols.find((name) => offered.has(name)) ?? false,
    });
    sockets.on("listening", () => tell({ event: "listening", port: sockets.address().port }));
    sockets.on("connection", (socket, request) => {
      const conn = adopt(socket);
      if (pingEvery) heartbeat(socket, pingEvery);
      tell({
        event: "open", conn, path: request.url, headers: request.headers, subprotocol: socket.protocol, extensions: socket.extensions,
        ...agreed(request.socket),
      });
    });
  },

  connect({ url, subprotocols, deflate: wanted, headers, from, pingWithin, tls }) {
    if (tls) agent ??= new Agent(secure(tls));
    const socket = new WebSocket(url, subprotocols, { perMessageDeflate: deflate(wanted), headers, localAddress: from, agent: tls && agent });
    const conn = adopt(socket);
    if (pingWithin) expectPings(socket, pingWithin);
    let agreement;
    socket.on("upgrade", (response) => { agreement = agreed(response.socket); });
    socket.on("open", () => tell({ event: "open", conn, subprotocol: socket.protocol, extensions: socket.extensions, ...agreement }));
  },

  send({ conn, parts, isBinary }) {
    parts.forEach((part, i) => {
      connections.get(conn).send(Buffer.from(part, "base64"), { binary: isBinary, fin: i === parts.length - 1 });
    });
  },

  ping({ conn, data }) {
    connections.get(conn).ping(Buffer.from(data, "base64"));
  },

  close({ conn, code, reason }) {
    if (code === 0) connections.get(conn).close();
    else connections.get(conn).close(code, reason);
  },
};

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const command = JSON.parse(line);
  actions[command.do](command);
});
lines.on("close", () => process.exit(0));
