//go:build unix

package apps

import (
	"fmt"
	"os/exec"
	"strconv"
	"testing"
)

// apps are named as their clients in clients/.
var apps = []app{
	{name: "mosquitto", packages: "mosquitto", files: []string{"/usr/sbin/mosquitto"}, serve: ofDebian(func(directory string, port int) string {
		// Version 2.0.11 does not start with WebSocket listeners alone.
		return fmt.Sprintf("user root\nallow_anonymous true\nlistener 0 %s/socket\nlistener %d 127.0.0.1\nprotocol websockets\n", directory, port)
	}, "/usr/sbin/mosquitto", "-c")},
	{name: "nats-server", packages: "nats-server", files: []string{"nats-server"}, serve: ofDebian(func(_ string, port int) string {
		return fmt.Sprintf("listen: \"127.0.0.1:-1\"\nmax_payload: 8MB\nwebsocket { listen: \"127.0.0.1:%d\", no_tls: true }\n", port)
	}, "nats-server", "-c")},
	{name: "prosody", packages: "prosody", files: []string{"prosody"}, serve: prosody},
	{name: "novnc", packages: "novnc tigervnc-standalone-server websockify xfonts-base xterm", files: []string{"/usr/share/novnc/vnc.html", "Xtigervnc", "websockify", "xterm"}, serve: ofNode("novnc")},
	{name: "jupyter", packages: "jupyter-server python3-ipykernel", files: []string{"/usr/bin/jupyter-server", "/usr/share/jupyter/kernels/python3/kernel.json"}, serve: jupyter},
	{name: "v2ray", packages: "curl v2ray", files: []string{"curl", "v2ray"}, serve: ofDebian(func(_ string, port int) string {
		return fmt.Sprintf(`{"log": {"loglevel": "warning"}, "outbounds": [{"protocol": "freedom"}], "inbounds": [{
			"listen": "127.0.0.1", "port": %d, "protocol": "vmess", "streamSettings": {"network": "ws"},
			"settings": {"clients": [{"id": "b831381d-6324-4d53-ad4f-8cda48b30811"}]}}]}`, port)
	}, "v2ray", "-config")},
	{name: "websocketd", packages: "websocketd", files: []string{"websocketd"}, serve: func(_ *testing.T, _ string, port int) *exec.Cmd {
		return exec.Command("websocketd", "--address", "127.0.0.1", "--port", strconv.Itoa(port), "--maxforks", "4", "cat")
	}},
	{name: "rabbitmq", isLong: true, packages: "rabbitmq-server", files: []string{"/usr/sbin/rabbitmq-server"}, serve: rabbitMQ},

	// Chromium's debugging port and Playwright's server: remote browsers.
	{name: "devtools", packages: "chromium", files: []string{"chromium"}, serve: ofNode("devtools")},
	{name: "playwright", packages: "chromium", files: []string{"chromium"}, serve: ofNode("playwright")},
	{name: "vite", packages: "chromium", files: []string{"chromium"}, serve: ofNode("vite")},
	{name: "webpack-dev-server", packages: "chromium", files: []string{"chromium"}, serve: ofNode("webpack-dev-server")},

	{name: "inspector", route: `backend_ping_interval = "0s"`, serve: ofNode("inspector")},
	{name: "graphql-ws", serve: ofNode("graphql-ws")},
	{name: "trpc", serve: ofNode("trpc")},
	{name: "json-rpc", serve: ofNode("json-rpc")},
	{name: "y-websocket", serve: ofNode("y-websocket")},
	{name: "hocuspocus", serve: ofNode("hocuspocus")},
	{name: "colyseus", serve: ofNode("colyseus")},
}
