// noVNC in Chromium: types into a terminal of the desktop.
import { existsSync } from "node:fs";
import { withPage } from "./chromium.js";
import { assert, directory, finish, http, idle, until } from "./client.js";

const name = new URL(http).protocol.slice(0, -1);
await withPage(async (page) => {
  const sockets = [];
  let bytes = 0;
  page.on("websocket", (socket) => {
    sockets.push(socket);
    socket.on("framereceived", ({ payload }) => { bytes += payload.length; });
  });
  await page.goto(`${http}/vnc.html?autoconnect=true&path=${encodeURIComponent(`websockify?token=${name}`)}`);
  const canvas = page.locator("#noVNC_container canvas");
  await canvas.waitFor();
  await until("the desktop is shown", () => canvas.evaluate((c) => c.width > 1000));
  const type = async (file, command = "") => {
    const path = `${directory}/${name}.${file}`;
    for (let tries = 0; tries < 12 && !existsSync(path); tries++) { // the terminal may still be starting
      await canvas.click({ position: { x: 50, y: 50 } });
      await page.keyboard.type(`${command}touch ${path}\n`);
      await until(file, () => existsSync(path), 5).catch(() => {});
    }
    assert.ok(existsSync(path), `the terminal has not made ${path}`);
  };
  await type("first");
  const before = bytes;
  await type("large", "head -c 3000000 /dev/urandom | base64; ");
  await until("a megabyte of pictures", () => bytes > before + 1_000_000);
  await idle();
  await type("last");
  assert.equal(sockets.length, 1, "it had to connect again");
  assert.equal(sockets[0].isClosed(), false);
});
finish();
