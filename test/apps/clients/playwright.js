import { chromium } from "playwright-core";
import { assert, finish, idle, ws } from "./client.js";
import { work } from "./browser.js";

const browser = await chromium.connect(`${ws}/playwright`);
let isLost = false;
browser.on("disconnected", () => { isLost = true; });
await work(browser);
await idle();
assert.equal(isLost, false, "it has lost its connection");
await work(browser);
finish();
