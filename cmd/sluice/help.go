package main

import (
	"flag"
	"fmt"
	"io"
)

// help returns what the help of each command says between its usage and its flags: what the command does, and examples.
func help() map[string]string {
	return map[string]string{
		"run": `Run the gateway until SIGTERM or SIGINT, which drain and stop it. A second signal ends it at once. SIGHUP reloads the configuration,
and SIGUSR2 upgrades the program. With -to no configuration file is needed.

examples:
  sluice run -config /etc/sluice/sluice.toml
  sluice run -to 10.0.0.1:9000,10.0.0.2:9000 -listen 0.0.0.0:8080
`,
		"check": `Report every problem of a configuration, one per line: FILE:LINE: key: problem, got X (want Y). To find problems that no single
key shows, build what run builds and send each route requests in memory. Warnings go to stderr. The exit code is 2 if there is a problem.
Nothing is started.

examples:
  sluice check /etc/sluice/sluice.toml
`,
		"demo": `Run three echo backends, the gateway and a test page on loopback ports, until Ctrl-C. The first line of output is the URL of
the page.

examples:
  sluice demo
`,
		"echo": `Run a backend that sends each message back, until SIGTERM or SIGINT.

examples:
  sluice echo
  sluice echo -listen unix:/run/echo.sock
`,
		"bench": `Put load on a WebSocket URL and report rates, latencies and errors. It ends after -d, or after -n messages. The exit code is 1 if
there were errors.

examples:
  sluice bench -url ws://127.0.0.1:8080/ -c 100 -d 10s
  sluice bench -mode storm -url wss://127.0.0.1:8443/ -ca ca.pem -pid 4711
`,
		"status": `Show the listeners, routes, pools and backends of a running gateway: each count with its limit, the state of each backend and its
last failure.

examples:
  sluice status
  sluice status -health && echo alive
`,
		"sessions": `List the live sessions of a running gateway, the oldest first; show one session by its ID; or close sessions with -close. Filters
select sessions.

examples:
  sluice sessions -route example.com/chat -idle 5m
  sluice sessions 037ecd5fe771db45
  sluice sessions -close -client 10.0.0.0/8
`,
		"drain": `Send a backend of a running gateway no new sessions, and close its live sessions over the time of -over. With -undo it gets
sessions again.

examples:
  sluice drain chat 10.0.0.1:9000 -over 30s
  sluice drain chat 10.0.0.1:9000 -undo
`,
		"config": `Show the configuration that a running gateway uses, as TOML: every key with its value, defaults too. Comments list the files that it
was read from, and the changed keys that need a restart. *** stands for secrets.

examples:
  sluice config
`,
		"reload": `Make a running gateway reload its configuration. If the new one has problems, print them; the gateway then keeps the old one. Live
sessions stay.

examples:
  sluice reload
`,
		"upgrade": `Make a running gateway start its program anew and hand its listening sockets and live sessions over to the new process. Print what
moved and what stayed. If the upgrade fails, the old process continues, and the exit code is 1.

examples:
  sluice upgrade
`,
		"schema": `Print a JSON schema of the configuration. Editors complete and check a configuration with it.

examples:
  sluice schema > sluice.schema.json
`,
		"import": `Print a configuration of Sluice that does what the configuration of another proxy does. Each key has a comment with the line
that it comes from. What can't be carried over is a comment at its place, and is listed on stderr: FILE:LINE: DIRECTIVE: REASON. Nothing
is started and no file is written. The result is a draft: read it, and try it beside the other proxy.

What keeps clients out there keeps them out here. Sluice has no authentication yet: the routes of an authentication have a deny of all
addresses, which you delete when the backend authenticates the clients. A refusal that no route can express is listed first, as less
strict than the original. Then the exit status is 1. It is 0 if there is none and the draft passes the check; that certificates and other
files don't exist on this machine is no problem.

Name all files of a Traefik in one command: compose files, static and dynamic files, and custom resources of Kubernetes.

examples:
  sluice import -from nginx /etc/nginx/nginx.conf >sluice.toml
  sluice import -from nginx sites-available/chat sites-available/shop >sluice.toml
  sluice import -from haproxy /etc/haproxy/haproxy.cfg >sluice.toml
  sluice import -from caddy /etc/caddy/Caddyfile >sluice.toml
  sluice import -from traefik docker-compose.yml traefik.yml dynamic/auth.yml >sluice.toml
  sluice check sluice.toml
`,
		"version": `Print the version and the revision of this program, and the Go release that built it.

examples:
  sluice version
`,
	}
}

// printHelp prints the help of the command that flags are of.
func printHelp(w io.Writer, flags *flag.FlagSet) {
	for _, c := range commands() {
		if c.name == flags.Name() {
			fmt.Fprintf(w, "usage: sluice %s\n\n%s", c.usage, help()[c.name])
		}
	}
	hasFlags := false
	flags.VisitAll(func(*flag.Flag) { hasFlags = true })
	if hasFlags {
		fmt.Fprint(w, "\nflags:\n")
		flags.SetOutput(w)
		flags.PrintDefaults()
	}
}
