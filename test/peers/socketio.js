// socket.io on both ends, and a stream of server-sent events. `socketio.js serve` is a server of both, `socketio.js connect URL
// TRANSPORTS` a client of the former. Each tells on stdout what happens, one JSON object a line; socketio_test.go is who reads it.

import { createServer } from "node:http";
import { Server } from "socket.io";
import { io } from "socket.io-client";

function tell(event) {
  process.stdout.write(JSON.stringify(event) + "\n");
}

function serve() {
  const streams = new Set(); // of events
  const http = createServer((request, response) => {
    if (request.url === "/events") {
      response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
      response.flushHeaders();
      streams.add(response);
      request.on("close", () => {
        streams.delete(response);
        tell({ event: "stream closed" });
      });
      return;
    }
    let text = "";
    request.on("data", (part) => (text += part));
    request.on("end", () => {
      for (const stream of streams) stream.write(`data: ${text}\n\n`);
      response.end("said");
    });
  });
  const server = new Server(http, { maxHttpBufferSize: 1 << 23 });
  server.on("connection", (socket) => {
    tell({ event: "connection", transport: socket.conn.transport.name, address: socket.handshake.headers["x-forwarded-for"] });
    socket.conn.on("upgrade", (transport) => tell({ event: "upgrade", transport: transport.name }));
    socket.on("echo", (value, answer) => answer(value));
    socket.on("push", (count) => {
      for (let i = 0; i < count; i++) socket.emit("pushed", i);
    });
    socket.on("disconnect", (reason) => tell({ event: "disconnect", reason }));
  });
  http.listen(0, "127.0.0.1", () => tell({ event: "listening", port: http.address().port }));
}

async function connect(url, transports) {
  const socket = io(url, { transports, reconnection: false });
  socket.on("connect_error", (error) => tell({ event: "error", message: error.message }));
  const connected = new Promise((done) => socket.on("connect", done));
  await new Promise((done) => {
    socket.io.on("open", () => {
      tell({ event: "open", transport: socket.io.engine.transport.name });
      done();
    });
  });
  const engine = socket.io.engine;
  if (transports.length > 1) {
    await new Promise((done) => (engine.transport.name === "websocket" ? done() : engine.on("upgrade", done)));
    tell({ event: "upgrade", transport: engine.transport.name });
  }
  await connected;
  for (const value of ["text with ü", { list: [1, 2, null] }, "x".repeat(1 << 20)]) {
    if (JSON.stringify(await socket.emitWithAck("echo", value)) !== JSON.stringify(value)) throw new Error("the echo differs");
  }
  const bytes = Buffer.alloc(1 << 20, "binary");
  if (!bytes.equals(await socket.emitWithAck("echo", bytes))) throw new Error("the echo of bytes differs");
  const count = 1000;
  const pushed = new Promise((done, fail) => {
    let next = 0;
    socket.on("pushed", (i) => {
      if (i !== next++) fail(new Error(`event ${i} instead of ${next - 1}`));
      if (next === count) done();
    });
  });
  socket.emit("push", count);
  await pushed;
  tell({ event: "done", transport: engine.transport.name });
  socket.disconnect();
}

const [mode, url, transports] = process.argv.slice(2);
if (mode === "serve") {
  process.stdin.on("end", () => process.exit(0)).resume();
  serve();
} else {
  await connect(url, transports.split(","));
}
