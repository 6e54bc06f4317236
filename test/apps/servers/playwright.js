// Playwright's server: browsers for clients elsewhere.
import { chromium } from "playwright-core";

const server = await chromium.launchServer({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"], host: "127.0.0.1", port: Number(process.argv[2]), wsPath: "/playwright",
});
process.on("SIGTERM", async () => { await server.close(); process.exit(0); });
