// A peer made of Node's ws: it does what its stdin says and tells on stdout what happens, one JSON
// object a line. python.py has the same words; peer_test.go is who speaks them.

import { readFileSync } from "node:fs";
import { connect as connectHTTP2, createSecureServer, createServer as createHTTP2Server } from "node:http2";
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

// Over HTTP/2 (RFC 8441) ws gets a stream in the place of a socket, without an Upgrade: by what its own server calls. It negotiates no extensions.
function overStream(stream, isServer, subprotocol) {
  const socket = new WebSocket(null, undefined, { allowSynchronousEvents: true, autoPong: true, closeTimeout: 30_000 });
  socket._isServer = isServer;
  socket._protocol = subprotocol ?? "";
  // What a socket has and a stream has not.
  stream.setNoDelay = () => {};
  return [socket, () => socket.setSocket(stream, Buffer.alloc(0), { allowSynchronousEvents: true, maxPayload: 1 << 24, skipUTF8Validation: false })];
}

let session; // the connection of HTTP/2 that all of this peer's clients share

const http2 = {
  serve({ subprotocols, tls }) {
    const settings = { enableConnectProtocol: true };
    const server = tls ? createSecureServer({ settings, ...secure(tls) }) : createHTTP2Server({ settings });
    server.on("stream", (stream, headers) => {
      if (headers[":protocol"] !== "websocket") {
        stream.respond({ ":status": 404 });
        stream.end();
        return;
      }
      const offered = (headers["sec-websocket-protocol"] ?? "").split(",").map((name) => name.trim());
      const subprotocol = subprotocols.find((name) => offered.includes(name));
      stream.respond({ ":status": 200, ...(subprotocol && { "sec-websocket-protocol": subprotocol }) });
      const [socket, begin] = overStream(stream, true, subprotocol);
      const conn = adopt(socket);
      const fields = Object.fromEntries(Object.entries(headers).filter(([name]) => typeof name === "string"));
      tell({ event: "open", conn, path: headers[":path"], headers: fields, subprotocol: socket.protocol, extensions: "" });
      begin();
    });
    server.on("sessionError", () => {}); // each of its connections tells
    server.listen(0, "127.0.0.1", () => tell({ event: "listening", port: server.address().port }));
  },

  connect({ url, subprotocols, headers, tls }) {
    const { protocol, host, pathname, search } = new URL(url);
    const open = () => {
      const stream = session.request({
        ":method": "CONNECT", ":protocol": "websocket", ":scheme": tls ? "https" : "http", ":authority": host, ":path": pathname + search,
        "sec-websocket-version": "13", ...(subprotocols.length && { "sec-websocket-protocol": subprotocols.join(", ") }), ...headers,
      }, { endStream: false });
      const [socket, begin] = overStream(stream, false);
      const conn = adopt(socket);
      stream.on("response", (answer) => {
        if (answer[":status"] !== 200) {
          tell({ event: "error", conn, message: `status ${answer[":status"]}` });
          return;
        }
        socket._protocol = answer["sec-websocket-protocol"] ?? "";
        tell({ event: "open", conn, subprotocol: socket.protocol, extensions: answer["sec-websocket-extensions"] ?? "" });
        begin();
      });
    };
    if (session && !session.closed) return open();
    session = connectHTTP2(`${protocol === "wss:" ? "https" : "http"}://${host}`, tls ? secure(tls) : {});
    session.on("error", () => {}); // each of its streams tells
    session.once("remoteSettings", (settings) => {
      if (!settings.enableConnectProtocol) return tell({ event: "error", conn: 0, message: "no WebSocket over HTTP/2" });
      open();
    });
  },
};

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
  ((command.http2 && http2[command.do]) || actions[command.do])(command);
});
lines.on("close", () => process.exit(0));
