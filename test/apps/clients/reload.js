// A page of a development server, whose modules are replaced without a reload.
import { renameSync, writeFileSync } from "node:fs";
import { withPage } from "./chromium.js";
import { assert, directory, finish, http, idle, sleep } from "./client.js";

// watch checks a page with a large module of that size.
export async function watch(size) {
  const protocol = new URL(http).protocol.slice(0, -1); // each client has a module of its own
  await withPage(async (page) => {
    const problems = [];
    page.on("pageerror", (e) => problems.push(e.message));
    page.on("console", (m) => { if (m.type() === "error" && !m.text().includes("favicon") && !m.location().url.endsWith("favicon.ico")) problems.push(m.text()); });
    const sockets = [];
    page.on("websocket", (socket) => sockets.push(socket));
    await page.goto(http);
    await page.locator("#size", { hasText: `${size}` }).waitFor().catch((err) => { throw new Error(`${err.message}\nthe page says: ${problems.join("; ")}`); });
    while (!sockets.some((s) => !s.isClosed())) await sleep(20);
    const change = async (text) => {
      // At one stroke: the server might read the beginning of what is being written, and the other client's page be made of it.
      writeFileSync(`${directory}/${protocol}.new`, `export const text = ${JSON.stringify(text)};`);
      renameSync(`${directory}/${protocol}.new`, `${directory}/src/${protocol}.js`);
      await page.locator(`#${protocol}`, { hasText: text }).waitFor();
    };
    await change("changed"); // it may be loaded again: what was written at the start is a change, too
    await page.evaluate(() => { globalThis.isTheSame = true; });
    const socket = sockets.findLast((s) => !s.isClosed());
    await idle();
    await change("changed again");
    assert.equal(await page.evaluate(() => globalThis.isTheSame), true, "the page was loaded again");
    assert.equal(socket.isClosed(), false, "it had to connect again");
    assert.deepEqual(problems, []);
  });
  finish();
}
