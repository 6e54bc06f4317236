"use strict";

// Pools and their backends.

const stateNames = { slow_start: "slow start" };
const meters = new Map(); // pool and address → meters of a backend

function showPools(pools, at) {
  const known = new Set();
  fill(element("pool-list"), pools, (pool) => pool.name, buildPool, (node, pool) => {
    const up = pool.available + " of " + pool.backends.length + " available";
    show(node.querySelector(".hint"), up + " · " + count(pool.sessions) + (pool.sessions === 1 ? " session" : " sessions"));
    node.querySelector(".hint").dataset.kind = pool.available === 0 && pool.backends.length > 0 ? "bad" : "";
    const most = Math.max(1, ...pool.backends.map((b) => b.sessions));
    fill(node.querySelector("tbody"), pool.backends, (b) => b.address, (b) => buildBackend(pool, b), (row, b) => {
      const key = pool.name + " " + b.address;
      known.add(key);
      updateBackend(row, b, most, metersOf(key), at);
    });
  });
  for (const key of meters.keys()) if (!known.has(key)) meters.delete(key);
  offerBackends(pools);
}

function metersOf(key) {
  if (!meters.has(key)) meters.set(key, { frames: new Meter(), bytes: new Meter() });
  return meters.get(key);
}

function buildPool(pool) {
  const heading = make("h3", "", pool.name);
  const head = make("tr", "");
  for (const [text, className] of [["Backend"], ["State"], ["Sessions", "number"], ["Frames", "number"], ["Bytes", "number"], ["Failures"]]) {
    const th = make("th", className, text);
    th.scope = "col";
    head.append(th);
  }
  head.append(make("th", "", make("span", "unseen", "Actions")));
  const table = make("table", "cards", make("thead", "", head), make("tbody", ""));
  return make("article", "card table", make("div", "head", heading, make("p", "hint")), table);
}

function buildBackend(pool, b) {
  const sessions = make("button", "link");
  sessions.type = "button";
  sessions.title = "Show its sessions";
  sessions.onclick = () => searchBackend(pool.name, b.address);
  const action = make("button", "action");
  action.type = "button";
  action.onclick = () => action.dataset.does === "drain" ? askDrain(pool, row.backend) : undrain(pool, row.backend);
  const row = make("tr", "",
    cell("Backend", "mono main", b.address),
    cell("State", "state", make("span", "chip"), make("small", "")),
    cell("Sessions", "number sessions", sessions, make("meter", "")),
    cell("Frames", "number frames"),
    cell("Bytes", "number bytes"),
    cell("Failures", "failures", make("span", ""), make("small", "")),
    cell("", "actions", action));
  return row;
}

function updateBackend(row, b, most, of, at) {
  row.backend = b;
  const chip = row.querySelector(".chip");
  show(chip, stateNames[b.state] || b.state);
  chip.dataset.kind = b.state === "unprobed" ? "" : b.available ? "good" : b.state === "ejected" || b.state === "down" ? "bad" : "warn";
  const more = [];
  if (b.ejected_until) more.push("for " + long(Math.max(0, Date.parse(b.ejected_until) / 1000 - at)));
  if (b.state === "slow_start") more.push(Math.round(b.warmth * 100) + " %");
  if (b.backup) more.push("backup");
  if (b.weight !== 1) more.push("weight " + b.weight);
  show(row.querySelector(".state small"), more.join(", "));
  show(row.querySelector(".sessions button"), count(b.sessions) + (b.max_sessions > 0 ? " of " + count(b.max_sessions) : ""));
  const bar = row.querySelector("meter");
  bar.max = b.max_sessions || most;
  bar.value = b.sessions;
  const perSecondOf = (meter, field) => meter.rate(b.to_backend[field] + b.to_client[field], at);
  show(row.querySelector(".frames"), perFrame(perSecondOf(of.frames, "frames")));
  show(row.querySelector(".bytes"), perByte(perSecondOf(of.bytes, "bytes")));
  const failures = Object.entries(b.failures).filter(([, n]) => n > 0).map(([reason, n]) => reason.replaceAll("_", " ") + " " + count(n));
  show(row.querySelector(".failures span"), failures.join(", ") || "–");
  show(row.querySelector(".failures small"), lastError(b.last_failure, at));
  const action = row.querySelector(".action");
  action.dataset.does = b.state === "draining" ? "undrain" : "drain";
  show(action, b.state === "draining" ? "Undrain" : "Drain");
  action.setAttribute("aria-label", action.textContent + " " + b.address);
  action.hidden = b.state === "gone";
}

// lastError says what went wrong last, and since when the backend fails or how long ago that was.
function lastError(failure, at) {
  if (!failure) return "";
  const ago = (time) => long(Math.max(0, at - Date.parse(time) / 1000));
  return failure.error + (failure.since ? ", fails for " + ago(failure.since) : ", " + ago(failure.at) + " ago");
}

const backendPath = (pool, b) => "pools/" + encodeURIComponent(pool.name) + "/backends/" + encodeURIComponent(b.address);

async function askDrain(pool, b) {
  describe(element("drain-details"), [["Backend", b.address], ["Pool", pool.name], ["Sessions", count(b.sessions)]]);
  if (!await confirmed(element("drain-dialog"))) return;
  await act("POST", backendPath(pool, b) + "/drain?over=" + element("over").value, b.address + " is being drained.");
}

async function undrain(pool, b) {
  await act("POST", backendPath(pool, b) + "/undrain", b.address + " takes sessions again.");
}
