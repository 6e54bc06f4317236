// The dashboard of a gateway that wants a token. Arguments: the page's URL, the token.
// It prints what was seen as one JSON object.

import { withChromium } from "./chromium.js";

const [url, token] = process.argv.slice(2);
const seen = { asked: [] };
await withChromium({}, async (context) => {
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on("request", (request) => { if (request.url().includes("/api/")) seen.asked.push(request.headers().authorization ?? ""); });
  await page.goto(url);
  await page.locator("#token-dialog").waitFor();
  seen.askedBefore = seen.asked.length;
  await page.keyboard.press("Escape"); // there is nothing behind it
  await page.locator("#token").fill("another token of some length");
  await page.keyboard.press("Enter");
  await page.locator("#token-problem").waitFor();
  seen.problem = await page.locator("#token-problem").innerText();
  await page.locator("#token").fill(token);
  await page.keyboard.press("Enter");
  await page.locator("#state[data-state=ready]").waitFor();
  await page.reload();
  await page.locator("#state[data-state=ready]").waitFor();
  seen.stored = await page.evaluate(() => [sessionStorage.length, localStorage.length, document.cookie]);
});
console.log(JSON.stringify(seen));
