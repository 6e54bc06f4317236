"use strict";

// The limits of what the page keeps and shows, so that a long session doesn't fill the browser.
const mostEntries = 500;
const mostCharacters = 2000;
const mostReasonBytes = 123; // RFC 6455 section 5.5: 125 bytes of payload, less 2 of the code

const element = (id) => document.getElementById(id);
const show = (id, text) => { element(id).textContent = text; };

// The one session of the page; null when there is none.
let socket = null;
let isGreeted = false; // a message has come, so no greeting will
let wasOpen = false;
let begun = 0; // when the handshake began
let pings = new Map(); // text sent → when
let pingCount = 0;
let sent = 0;
let received = 0;

const gateway = new URL("/", location.href);
gateway.protocol = location.protocol === "https:" ? "wss:" : "ws:";
gateway.port = document.body.dataset.gatewayPort;
element("url").value = gateway.href;

function setState(state, text) {
  const isOpen = state === "open";
  const isBusy = state === "connecting" || state === "closing";
  element("status").dataset.state = state;
  show("status", text);
  element("connect").disabled = isOpen || isBusy;
  element("url").readOnly = isOpen || isBusy;
  element("subprotocols").readOnly = isOpen || isBusy;
  element("send").disabled = !isOpen;
  element("ping").disabled = !isOpen;
  element("close").disabled = !isOpen;
}

function log(kind, text) {
  const list = element("log");
  const isAtEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const entry = document.createElement("li");
  entry.dataset.kind = kind;
  const now = new Date();
  const time = document.createElement("time");
  time.dateTime = now.toISOString();
  time.textContent = now.toTimeString().slice(0, 8) + "." + String(now.getMilliseconds()).padStart(3, "0");
  const name = document.createElement("span");
  name.className = "kind";
  name.textContent = kind;
  const content = document.createElement("span");
  content.className = "text";
  content.textContent = text.length > mostCharacters ? text.slice(0, mostCharacters) + "… (" + text.length + " characters)" : text;
  entry.append(time, name, content);
  list.append(entry);
  while (list.childElementCount > mostEntries) list.firstElementChild.remove();
  if (isAtEnd) list.scrollTop = list.scrollHeight;
}

function milliseconds(since) {
  return (performance.now() - since).toFixed(1) + " ms";
}

function connect(event) {
  event.preventDefault();
  const url = element("url").value.trim();
  const offer = element("subprotocols").value.split(",").map((name) => name.trim()).filter((name) => name !== "");
  let opened;
  try {
    opened = new WebSocket(url, offer);
  } catch (error) {
    log("error", error.message);
    setState("failed", "can't connect");
    return;
  }
  socket = opened;
  isGreeted = false;
  wasOpen = false;
  begun = performance.now();
  pings = new Map();
  sent = 0;
  received = 0;
  for (const id of ["backend", "negotiated-url", "protocol", "extensions", "handshake", "rtt", "closed"]) show(id, "–");
  show("sent", "0");
  show("received", "0");
  setState("connecting", "connecting");
  log("connect", url);
  socket.binaryType = "arraybuffer";
  socket.onopen = opens;
  socket.onmessage = receives;
  socket.onclose = closes;
}

function opens() {
  wasOpen = true;
  const took = milliseconds(begun);
  setState("open", "connected");
  show("negotiated-url", socket.url);
  show("protocol", socket.protocol || "none");
  show("extensions", socket.extensions || "none");
  show("handshake", took);
  log("open", "handshake in " + took);
  element("message").focus();
}

function receives(event) {
  received++;
  show("received", String(received));
  if (typeof event.data !== "string") {
    isGreeted = true;
    log("received", event.data.byteLength + " bytes, binary");
    return;
  }
  const greeting = isGreeted ? null : /^hello from (backend \d+) at (\S+)$/.exec(event.data);
  isGreeted = true;
  if (greeting) {
    show("backend", greeting[1] + " (" + greeting[2] + ")");
    log("backend", event.data);
    return;
  }
  if (element("backend").textContent === "–") show("backend", "unknown: it has not named itself");
  if (pings.has(event.data)) {
    const took = milliseconds(pings.get(event.data));
    pings.delete(event.data);
    show("rtt", took);
    log("pong", "echo of " + event.data + " after " + took);
    return;
  }
  log("received", event.data);
}

function closes(event) {
  socket = null;
  if (!wasOpen) {
    setState("failed", "refused");
    log("error", "no session: the gateway could not be reached, or it refused the handshake; a browser doesn't say which");
    return;
  }
  const text = event.code + (event.reason ? " " + event.reason : "");
  show("closed", text + (event.wasClean ? "" : " (without a closing handshake)"));
  setState(event.wasClean ? "closed" : "failed", "closed " + event.code);
  log("closed", text);
}

function transmit(text) {
  socket.send(text);
  sent++;
  show("sent", String(sent));
}

function send(event) {
  event.preventDefault();
  if (element("send").disabled) return;
  const text = element("message").value;
  transmit(text);
  log("sent", text);
  element("message").select();
}

function ping() {
  pingCount++;
  const text = "ping " + pingCount;
  pings.set(text, performance.now());
  transmit(text);
  log("ping", text);
}

function close(event) {
  event.preventDefault();
  if (element("close").disabled) return;
  const code = Number(element("code").value);
  const reason = element("reason").value;
  if (code !== 1000 && !(code >= 3000 && code <= 4999)) {
    log("error", "a browser may send the codes 1000 and 3000 to 4999, not " + code);
    return;
  }
  if (new TextEncoder().encode(reason).length > mostReasonBytes) {
    log("error", "the reason is longer than " + mostReasonBytes + " bytes");
    return;
  }
  socket.close(code, reason);
  setState("closing", "closing");
  log("close", code + (reason ? " " + reason : ""));
}

element("connect-form").addEventListener("submit", connect);
element("send-form").addEventListener("submit", send);
element("close-form").addEventListener("submit", close);
element("ping").addEventListener("click", ping);
element("clear").addEventListener("click", () => element("log").replaceChildren());
element("message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    element("send-form").requestSubmit(element("send"));
  }
});
