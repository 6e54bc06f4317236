// Chromium's debugging protocol, by Playwright.
import { chromium } from "playwright-core";
import { assert, finish, http, idle, ws } from "./client.js";
import { work } from "./browser.js";

// Chromium knows of no TLS before it, and names a URL without.
const { webSocketDebuggerUrl } = await (await fetch(`${http}/json/version`)).json();
const browser = await chromium.connectOverCDP(`${ws}${new URL(webSocketDebuggerUrl).pathname}`);
let isLost = false;
browser.on("disconnected", () => { isLost = true; });
await work(browser);
await idle();
assert.equal(isLost, false, "it has lost its connection");
await work(browser);
finish();
