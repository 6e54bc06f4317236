import { assert } from "./client.js";

// work does what a remote browser is for, with large results.
export async function work(browser) {
  const context = await browser.newContext({ viewport: { width: 1600, height: 1200 } });
  const page = await context.newPage();
  await page.setContent(`<h1>remote</h1>${"<p>text</p>".repeat(50)}`);
  assert.equal(await page.locator("p").count(), 50);
  const text = await page.evaluate(() => { // which nothing on the way can compress
    const bytes = new Uint8Array(48 << 10);
    let text = "";
    while (text.length < 20 << 20) text += btoa(String.fromCharCode(...crypto.getRandomValues(bytes)));
    return text;
  });
  assert.equal(text.length, 20 << 20);
  assert.equal(await page.evaluate((text) => text.length, text.slice(0, 1 << 20)), 1 << 20);
  assert.ok((await page.screenshot({ fullPage: true })).length > 5_000);
  await context.close();
}
