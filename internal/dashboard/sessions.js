"use strict";

// The table of live sessions: the gateway searches, and gives a page at a time.

const pageSize = 25;

// The cursors of the pages up to the one that is shown; the first page has none.
let cursors = [""];
let nextCursor = "";

// searchFilter returns the parameters that what was typed means; null: nothing that can be searched for.
function searchFilter(text) {
  if (text === "") return {};
  if (text.startsWith("/")) return { path: text };
  if (/^[0-9a-f]{16}$/.test(text)) return { id: text };
  const [address, size, more] = text.split("/");
  const isSize = (most) => size === undefined || /^\d{1,3}$/.test(size) && Number(size) <= most;
  if (more !== undefined) return null;
  const parts = address.split(".");
  if (parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && part <= 255) && isSize(32)) return { client: text };
  // The browser's own parser of addresses in URLs knows what an IPv6 address is.
  if (/^[0-9a-f:.]*:[0-9a-f:.]*$/i.test(address) && URL.canParse("http://[" + address + "]/") && isSize(128)) return { client: text };
  return null;
}

// sessionQuery returns the query of the page that is wanted; null: what was typed can't be searched for.
function sessionQuery() {
  const text = element("search").value.trim();
  const filter = searchFilter(text);
  element("search-problem").hidden = filter !== null;
  if (filter === null) {
    show(element("search-problem"), "“" + text + "” is no client address (10.0.0.7), no prefix (10.0.0.0/8), no path that begins with / and no session id.");
    return null;
  }
  const query = new URLSearchParams({ ...filter, limit: pageSize });
  for (const [key, value] of Object.entries(JSON.parse(element("backend").value || "{}"))) query.set(key, value);
  if (element("idle").value) query.set("idle", element("idle").value);
  if (cursors.at(-1)) query.set("cursor", cursors.at(-1));
  return query;
}

const isFiltered = () => element("search").value.trim() !== "" || element("backend").value !== "" || element("idle").value !== "";

function showSessions(page, total) {
  if (page.sessions.length === 0 && cursors.length > 1) { // the last page has gone
    cursors.pop();
    lookNow();
    return;
  }
  nextCursor = page.next || "";
  fill(element("session-table").tBodies[0], page.sessions, (s) => s.id, buildSession, updateSession);
  const first = (cursors.length - 1) * pageSize + 1;
  const last = first + page.sessions.length - 1;
  const range = first === last ? count(first) : count(first) + "–" + count(last);
  const of = isFiltered() ? (nextCursor ? " found, and more" : " found") : " of " + count(Math.max(total, last));
  show(element("session-count"), page.sessions.length === 0 ? "" : range + of);
  element("no-sessions").hidden = page.sessions.length > 0;
  show(element("no-sessions"), isFiltered() ? "No live session fits." : "No session is live.");
  show(element("page-number"), "Page " + count(cursors.length));
  element("first").disabled = element("previous").disabled = cursors.length === 1;
  element("next").disabled = nextCursor === "";
}

function buildSession(s) {
  const action = make("button", "action", "Close");
  action.type = "button";
  action.setAttribute("aria-label", "Close session " + s.id);
  action.onclick = () => askClose(s);
  const path = cell("Path", "mono path", s.path);
  path.title = s.host + s.path;
  return make("tr", "",
    cell("Session", "mono id", s.id),
    clientCell(s.client),
    path,
    backendCell(s.pool, s.backend.address),
    cell("Age", "number half"), cell("Idle", "number half"), cell("Ping", "number"),
    cell("To backend", "number frames"), cell("", "number bytes"),
    cell("To client", "number frames"), cell("", "number bytes"),
    cell("", "actions", action));
}

// clientCell shows the version of HTTP only where it isn't the usual one.
function clientCell(client) {
  const to = cell("Client", "mono main", client.address);
  if (client.http === "2") {
    to.append(" ", make("span", "hint", "HTTP/2"));
  }
  return to;
}

function updateSession(row, s) {
  const texts = [
    long(s.age_seconds), long(s.idle_seconds), brief(s.client.ping_rtt_seconds),
    count(s.to_backend.frames), bytes(s.to_backend.bytes), count(s.to_client.frames), bytes(s.to_client.bytes),
  ];
  texts.forEach((text, i) => show(row.cells[4 + i], text));
  row.dataset.closing = s.closing;
  const action = row.querySelector(".action");
  show(action, s.closing ? "Closing" : "Close");
  action.disabled = s.closing;
}

// codeProblem tells what is wrong with a close code: relay.IsCloseCode is the gateway's own rule.
function codeProblem() {
  const input = element("code");
  const code = Number(input.value);
  const isGood = input.validity.valid && (input.value === "" || code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999);
  return isGood ? "" : (input.value || "That") + " can't be sent in a close.";
}

async function askClose(s) {
  describe(element("close-details"), [["Session", s.id], ["Client", s.client.address], ["Path", s.path], ["Backend", s.backend.address]]);
  element("code").value = "";
  if (!await confirmed(element("close-dialog"), codeProblem)) return;
  const code = element("code").value;
  await act("DELETE", "sessions/" + s.id + (code ? "?code=" + code : ""), "Session " + s.id + " is asked to close" + (code ? " with " + code : "") + ".");
}

// offerBackends keeps the choice of pools and backends that there are.
function offerBackends(pools) {
  const select = element("backend");
  const groups = pools.flatMap((pool) => [
    { key: JSON.stringify({ pool: pool.name }), text: pool.name },
    ...pool.backends.map((b) => ({ key: JSON.stringify({ pool: pool.name, backend: b.address }), text: pool.name + " · " + b.address })),
  ]);
  fill(select, [{ key: "", text: "any" }, ...groups], (o) => o.key, (o) => new Option(o.text, o.key), () => {});
}

// searchBackend shows the sessions of a backend.
function searchBackend(pool, address) {
  element("filter").reset();
  element("backend").value = JSON.stringify({ pool, backend: address });
  turnTo([""]);
  element("sessions").scrollIntoView();
  element("search").focus({ preventScroll: true });
}

function turnTo(to) {
  cursors = to;
  lookNow();
}

function startSessions() {
  let typing = 0;
  element("search").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => turnTo([""]), 250);
  });
  for (const id of ["backend", "idle"]) element(id).addEventListener("change", () => turnTo([""]));
  element("filter").addEventListener("submit", (event) => {
    event.preventDefault();
    turnTo([""]);
  });
  element("filter").addEventListener("reset", () => setTimeout(() => turnTo([""]))); // once the fields are empty
  element("first").onclick = () => turnTo([""]);
  element("previous").onclick = () => turnTo(cursors.slice(0, -1));
  element("next").onclick = () => turnTo([...cursors, nextCursor]);
}
