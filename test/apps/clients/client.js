// What the clients share. Arguments: the URL of the application, and the directory of its server.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const [url, directory] = process.argv.slice(2);

export { assert, sleep, directory };
export const http = url.replace(/\/$/, ""); // without a slash at its end
export const ws = http.replace(/^http/, "ws");

// idle is a pause longer than the 30 seconds at which many servers and proxies end an idle connection.
export const idle = () => sleep(1000 * (process.env.PAUSE ?? 33));

// large returns a text of that many characters, which nothing on the way can compress much.
export const large = (length) => randomBytes(length).toString("base64").slice(0, length);

// within rejects if a promise is not settled after that many seconds.
export function within(seconds, what, promise) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`${seconds} s went by without: ${what}`)), 1000 * seconds); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// until polls until a function returns what is true, and returns that.
export async function until(what, holds, seconds = 60) {
  for (const end = Date.now() + 1000 * seconds; Date.now() < end; await sleep(20)) {
    const got = await holds();
    if (got) return got;
  }
  throw new Error(`${seconds} s went by without: ${what}`);
}

// finish ends the process: some libraries keep timers.
export function finish() {
  console.log("done");
  process.exit(0);
}
