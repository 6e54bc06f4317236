// Debian's Chromium.
import { chromium } from "playwright-core";

export const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";

// withPage runs a function with a page, and ends the browser.
export async function withPage(use) {
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  try {
    const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
    page.setDefaultTimeout(60_000);
    await use(page);
  } finally {
    await browser.close();
  }
}
