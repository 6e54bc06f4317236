// Chromium with its debugging port.
import { spawn } from "node:child_process";

const [port, directory] = process.argv.slice(2);
const browser = spawn(process.env.CHROMIUM ?? "/usr/bin/chromium", ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
  `--remote-debugging-port=${port}`, `--user-data-dir=${directory}/profile`, "about:blank"], { stdio: "inherit" });
process.on("SIGTERM", () => browser.kill());
browser.on("exit", () => process.exit(0));
