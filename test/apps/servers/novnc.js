// Two desktops of TigerVNC with a terminal each, by websockify, which serves noVNC too.
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";

const [port, directory] = process.argv.slice(2);
const children = [];
const run = (program, args, options = {}) => {
  const child = spawn(program, args, { stdio: "inherit", ...options });
  children.push(child);
  return child;
};
process.on("SIGTERM", () => { children.reverse().forEach((c) => c.kill()); process.exit(0); });

const tokens = [];
for (const [i, name] of ["http", "https"].entries()) {
  const socket = `${directory}/${name}.rfb`;
  const desktop = run("Xtigervnc", ["-displayfd", "3", "-rfbport", "-1", "-rfbunixpath", socket, "-SecurityTypes", "None", "-geometry", "1600x1200"],
    { stdio: ["ignore", "inherit", "inherit", "pipe"] });
  desktop.on("exit", (code) => { console.error(`desktop ${i} ends with ${code}`); });
  const display = await new Promise((resolve) => desktop.stdio[3].once("data", (data) => resolve(`:${data.toString().trim()}`)));
  run("xterm", ["-display", display, "-geometry", "150x60+0+0", "-e", "/bin/sh"]);
  tokens.push(`${name}: unix_socket:${socket}`);
}
writeFileSync(`${directory}/tokens`, `${tokens.join("\n")}\n`);
run("websockify", ["--web", "/usr/share/novnc", "--token-plugin", "TokenFile", "--token-source", `${directory}/tokens`, `127.0.0.1:${port}`]);
