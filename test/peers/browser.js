// What a person does with the page of `sluice demo`, in Chromium: connects, sends, closes, and looks.
// Arguments: the page's URL, the path for a screenshot. It prints what was seen as one JSON object.

import { listen, withChromium } from "./chromium.js";

const [url, screenshot] = process.argv.slice(2);
const patience = 10_000; // milliseconds for each step

const seen = { complaints: [] };
await withChromium({}, async (context) => {
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  listen(page, seen.complaints);
  const statusIs = (state) => page.locator(`#status[data-state="${state}"]`).waitFor();
  const text = (selector) => page.locator(selector).innerText();

  await page.goto(url);
  seen.title = await page.title();
  seen.idle = await text("#status");

  await page.locator("#subprotocols").fill("chat");
  await page.locator("#connect").click();
  await statusIs("open");
  await page.locator("#log", { hasText: "hello from backend" }).waitFor();
  seen.backend = await text("#backend");

  await page.locator("#message").fill("Grüße aus Chromium 🌍");
  await page.locator("#send").click();
  await page.locator('#log [data-kind="received"]', { hasText: "Grüße aus Chromium 🌍" }).waitFor();
  await page.locator("#ping").click();
  await page.locator('#log [data-kind="pong"]').waitFor();
  seen.details = await text("#details");
  await page.screenshot({ path: screenshot, fullPage: true });

  await page.locator("#code").fill("4001");
  await page.locator("#reason").fill("seen enough");
  await page.locator("#close").click();
  await statusIs("closed");
  seen.closed = await text("#closed");

  // Another session is another backend's.
  await page.locator("#connect").click();
  await statusIs("open");
  await page.waitForFunction((before) => document.getElementById("backend").textContent !== "–" &&
    document.getElementById("backend").textContent !== before, seen.backend);
  seen.nextBackend = await text("#backend");
});
console.log(JSON.stringify(seen));
