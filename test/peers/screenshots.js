// Pictures of the dashboard, once it has seen some traffic: light and dark, on a desk and on a phone.
// Arguments: the page's URL, the directory for the pictures, for how many seconds to look before.

import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { listen, withChromium } from "./chromium.js";

const [url, directory, seconds] = process.argv.slice(2);
const complaints = [];

// take opens the page, waits, and takes a picture of each section in each colour scheme; "": of the page's top.
async function take(name, sections, options) {
  await withChromium(options, async (context) => {
    const page = await context.newPage();
    listen(page, complaints);
    await page.goto(url);
    await page.locator("#state[data-state=ready]").waitFor();
    await setTimeout(Number(seconds) * 1000);
    for (const section of sections) {
      await page.evaluate((id) => (document.getElementById(id) ?? document.body).scrollIntoView({ behavior: "instant" }), section);
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme });
        await setTimeout(500); // a frame in the new colours
        await page.screenshot({ path: join(directory, ["dashboard", name, section, colorScheme].filter((part) => part).join("-") + ".png") });
      }
    }
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (overflow > 0) complaints.push(`${name}: the page is ${overflow} pixels too wide`);
  });
}

await Promise.all([
  take("desktop", [""], { viewport: { width: 1440, height: 1280 } }),
  take("phone", ["traffic", "pools", "sessions"], { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }),
]);
console.log(JSON.stringify({ complaints }));
