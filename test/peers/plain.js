// Plain HTTP of Node's own: `plain.js serve` is a backend, whose port is its first line; `plain.js ask ADDRESS` sends it requests, and
// prints what came of each, as JSON.
import http from "http";

const half = "half".repeat(10000);

const answers = {
  "/broken/length": (req, res) => {
    res.writeHead(200, { "Content-Length": 1000000 });
    res.write(half, () => setTimeout(() => res.destroy(), 50));
  },
  "/broken/chunks": (req, res) => res.write(half, () => setTimeout(() => res.destroy(), 50)),
  "/phrase": (req, res) => res.writeHead(404, "Gone fishing", { "Content-Length": 0 }).end(),
  "/same": (req, res) => res.writeHead(304, { "Content-Length": 1234, ETag: '"a"' }).end(),
  "/upgrade": (req, res) => res.writeHead(426, { Upgrade: "websocket", Connection: "Upgrade", "Content-Length": 0 }).end(),
  "/gone": (req) => setTimeout(() => req.socket.destroy(), 200),
};

function serve() {
  const server = http.createServer((req, res) => answers[req.url](req, res));
  server.listen(0, "127.0.0.1", () => console.log(server.address().port));
}

// ask sends a request, and resolves to what came. A body that isn't null is the beginning of an upload that pauses.
function ask(address, path, body) {
  return new Promise((resolve) => {
    const [host, port] = address.split(":");
    const req = http.request({ host, port, path, method: body === null ? "GET" : "POST", agent: false }, (res) => {
      let bytes = 0;
      const end = (how) => {
        req.destroy();
        resolve({ status: res.statusCode, phrase: res.statusMessage, length: res.headers["content-length"] || "", upgrade: res.headers.upgrade || "", bytes, end: how });
      };
      res.on("data", (chunk) => { bytes += chunk.length; });
      res.on("end", () => end("whole"));
      res.on("error", (err) => end(err.code));
    });
    req.on("error", (err) => resolve({ end: err.code }));
    if (body === null) {
      req.end();
    } else {
      req.write(body);
    }
  });
}

async function askAll(address) {
  const all = {};
  for (const path of Object.keys(answers)) {
    all[path] = await ask(address, path, path === "/gone" ? "half" : null);
  }
  console.log(JSON.stringify(all));
}

if (process.argv[2] === "serve") {
  serve();
} else {
  askAll(process.argv[3]);
}
