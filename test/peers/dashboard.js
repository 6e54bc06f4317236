// What an operator does with the dashboard, in Chromium: looks, searches, turns pages, closes a session, drains a backend.
// Arguments: the page's URL, the gateway's for clients, how many sessions live. It prints what was seen as one JSON object.

import { once } from "node:events";
import { WebSocket } from "ws";
import { listen, withChromium } from "./chromium.js";

const [url, gateway, crowd] = process.argv.slice(2);
const patience = 20_000; // milliseconds for each step
const seen = { complaints: [], milliseconds: {} };
const whole = (n) => new Intl.NumberFormat("en").format(n);

// timed notes how long a step took until its outcome was on the page.
async function timed(name, step) {
  const begun = performance.now();
  await step();
  seen.milliseconds[name] = Math.round(performance.now() - begun);
}

await withChromium({ viewport: { width: 1440, height: 900 } }, async (context) => {
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  listen(page, seen.complaints);
  await page.addInitScript(() => {
    globalThis.longest = 0; // milliseconds that the page was busy at a stretch
    new PerformanceObserver((list) => list.getEntries().forEach((e) => { globalThis.longest = Math.max(globalThis.longest, e.duration); }))
      .observe({ type: "longtask" });
  });
  const rows = page.locator("#session-table tbody tr");
  const text = (selector) => page.locator(selector).innerText();
  const until = (selector, wanted) => page.locator(selector, { hasText: wanted }).waitFor();

  // It shows what there is.
  await timed("first look", async () => {
    await page.goto(url);
    await until("#session-count", `1–25 of ${whole(crowd)}`);
  });
  seen.state = await text("#state");
  seen.rows = await rows.count();
  seen.pools = await text("#pool-list");

  // A session that begins is seen without anybody's doing.
  const client = new WebSocket(gateway, { localAddress: "127.0.0.77" });
  await once(client, "open");
  const { port } = client._socket.address();
  await until("#session-count", `of ${whole(Number(crowd) + 1)}`);
  seen.title = await page.title();

  // Pages: what is on the second isn't on the first.
  const ids = async () => page.locator("#session-table td.id").allInnerTexts();
  const first = await ids();
  await timed("next page", async () => {
    await page.locator("#next").click();
    await until("#session-count", "26–50");
  });
  seen.twice = (await ids()).filter((id) => first.includes(id));
  await page.locator("#previous").click();
  await until("#page-number", "Page 1");

  // Search: by what can't be, by address, path, id.
  await page.locator("#search").fill("nonsense");
  await page.locator("#search-problem").waitFor();
  seen.problem = await text("#search-problem");
  await timed("search", async () => {
    await page.locator("#search").fill("127.0.0.77");
    await until("#session-count", "1 found");
  });
  seen.found = await rows.innerText();
  const [id] = await ids();
  await page.locator("#search").fill("/nowhere");
  await until("#no-sessions", "No live session fits.");
  await page.locator("#search").fill(id);
  await until("#session-count", "1 found");

  // By keyboard: the first dialog is left, the second has a code that can't be sent, then one that can.
  const closed = once(client, "close");
  const dialog = page.locator("#close-dialog");
  await rows.locator(".action").focus();
  await page.keyboard.press("Enter");
  await dialog.waitFor();
  seen.dialog = await dialog.innerText();
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "hidden" });
  seen.focus = await page.evaluate(() => document.activeElement.getAttribute("aria-label"));
  await page.keyboard.press("Enter");
  await page.keyboard.type("1006");
  await page.keyboard.press("Enter");
  seen.codeProblem = await text("#code-problem");
  await page.keyboard.press("ControlOrMeta+a");
  await page.keyboard.type("4321");
  await page.keyboard.press("Enter");
  seen.closeCode = (await closed)[0];
  await until("#close-table tbody tr:first-child", "4321");
  seen.close = await text("#close-table tbody tr:first-child");
  await until("#no-sessions", "No live session fits.");
  await page.locator("#clear").click();
  await until("#session-count", `of ${whole(crowd)}`);
  seen.found = seen.found.replace(`127.0.0.77:${port}`, "the client");

  // A backend is drained, and is used again.
  const backend = page.locator("#pool-list tbody tr").first();
  seen.drained = await backend.locator("td").first().innerText();
  await backend.locator(".sessions button").click();
  await until("#session-count", "1–25 found, and more");
  await backend.locator(".action").click();
  await page.locator("#over").selectOption("0s");
  await page.locator("#drain-dialog button[type=submit]").click();
  await backend.locator(".chip", { hasText: "draining" }).waitFor();
  await timed("drain", () => backend.locator(".sessions button", { hasText: /^0$/ }).waitFor());
  await until("#plot-closes .legend", "1012");
  await until("#no-sessions", "No live session fits.");
  await backend.locator(".action", { hasText: "Undrain" }).click();
  await backend.locator(".chip", { hasText: "up" }).waitFor();
  seen.plots = await page.locator("#plots").innerText();
  seen.canvases = await page.locator("#plots canvas").count();

  // A backend with failures: nothing of its row lies below the button, and on a phone no number breaks. Faults D.
  seen.covered = await page.evaluate(() => {
    const b = (address, state, failures) => ({
      address, state, available: state === "up", weight: 1, sessions: 123456, max_sessions: 0, failures, to_backend: { frames: 0, bytes: 0 }, to_client: { frames: 0, bytes: 0 },
    });
    const backends = [b("backend-1.chat.example.internal:9000", "ejected", { refused: 14, handshake_timeout: 3 }), b("127.0.0.1:9", "up", {})];
    backends[0].ejected_until = new Date(Date.now() + 29_000).toISOString();
    showPools([{ name: "first", available: 1, sessions: 1, backends }, { name: "second", available: 1, sessions: 1, backends }], Date.now() / 1000);
    return [...document.querySelectorAll("#pool-list tbody tr")].filter((row) => {
      const text = document.createRange();
      text.selectNodeContents(row.querySelector(".failures"));
      return text.getBoundingClientRect().right > row.querySelector(".actions").getBoundingClientRect().left;
    }).map((row) => row.innerText);
  });
  await page.setViewportSize({ width: 390, height: 844 });
  seen.broken = await page.evaluate(() => {
    const moved = { frames: 807_000, bytes: 123_456_789 };
    showSessions({ sessions: [{
      id: "0123456789abcdef", client: { address: "203.0.113.9:41234" }, host: "", path: "/", pool: "first", backend: { address: "127.0.0.1:9" },
      age_seconds: 1, idle_seconds: 1, to_backend: moved, to_client: moved, closing: false,
    }] }, 1);
    for (const cell of document.querySelectorAll("#pool-list .frames")) cell.textContent = "807 k/s";
    const cells = [...document.querySelectorAll("#pool-list .frames, #session-table td.frames, #session-table td.bytes")];
    return cells.filter((cell) => cell.getBoundingClientRect().height > 30).length; // more than one line
  });

  // On a phone nothing is wider than the screen.
  await page.setViewportSize({ width: 390, height: 844 });
  await page.waitForFunction(() => document.querySelector("#plot-frames canvas").getBoundingClientRect().width < 390);
  seen.overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  seen.milliseconds["longest task"] = await page.evaluate(() => Math.round(globalThis.longest));

  // A gateway that can't be reached is told of, until it can; the browser's console says so too.
  const complaints = [...seen.complaints];
  await context.setOffline(true);
  await page.locator("#state[data-state=lost]").waitFor();
  seen.lost = await text("#lost");
  seen.lostAt = await page.evaluate(() => {
    scrollTo({ top: document.body.scrollHeight, behavior: "instant" });
    const { top, bottom } = element("lost").getBoundingClientRect();
    return scrollY > 200 && top >= 0 && bottom <= innerHeight ? "in sight" : `at ${top} of ${scrollY}`;
  });
  await context.setOffline(false);
  await page.locator("#state[data-state=ready]").waitFor();
  seen.isLostHidden = await page.locator("#lost").isHidden();
  seen.complaints = complaints;
});
console.log(JSON.stringify(seen));
