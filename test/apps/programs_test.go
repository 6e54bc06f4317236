//go:build unix

package apps

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

func prosody(t *testing.T, directory string, port int) *exec.Cmd {
	t.Helper()
	path := filepath.Join(directory, "prosody.cfg.lua") // it reads no file with another ending
	writeFile(t, path, fmt.Sprintf(`
pidfile = "%[1]s/pid"
data_path = "%[1]s"
run_as_root = true
modules_enabled = { "roster", "saslauth", "disco", "ping", "http", "websocket" }
modules_disabled = { "s2s" }
c2s_require_encryption = false
c2s_ports = {}
http_interfaces = { "127.0.0.1" }
http_ports = { %[2]d }
https_ports = {}
log = { info = "*console" }
VirtualHost "localhost"
authentication = "anonymous"
`, directory, port))
	return exec.Command("prosody", "-F", "--config", path)
}

func jupyter(_ *testing.T, directory string, port int) *exec.Cmd {
	cmd := exec.Command("/usr/bin/jupyter-server", "--no-browser", "--allow-root", "--ip", "127.0.0.1", "--port", strconv.Itoa(port), "--ServerApp.port_retries=0",
		"--ServerApp.token=secret", "--ServerApp.root_dir="+directory, "--ServerApp.iopub_data_rate_limit=1e9")
	cmd.Env = append(os.Environ(), "HOME="+directory, "SHELL=/bin/sh", "JUPYTER_RUNTIME_DIR="+filepath.Join(directory, "runtime"))
	return cmd
}

// rabbitMQ starts a broker with STOMP by WebSocket. Erlang's port mapper, too, ends with the test.
func rabbitMQ(t *testing.T, directory string, port int) *exec.Cmd {
	t.Helper()
	mapper := freePort(t)
	environment := append(os.Environ(), "HOME="+directory, fmt.Sprintf("ERL_EPMD_PORT=%d", mapper), "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_NODENAME=sluice@localhost", "RABBITMQ_CONFIG_FILE="+filepath.Join(directory, "rabbitmq.conf"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(directory, "plugins"), "RABBITMQ_MNESIA_BASE="+directory, "RABBITMQ_LOGS=-",
		fmt.Sprintf("RABBITMQ_DIST_PORT=%d", freePort(t)), "RABBITMQ_CONF_ENV_FILE=/dev/null")
	for name, text := range map[string]string{
		"plugins": "[rabbitmq_web_stomp].\n",
		"rabbitmq.conf": fmt.Sprintf("listeners.tcp.1 = 127.0.0.1:%d\nstomp.listeners.tcp.1 = 127.0.0.1:%d\nweb_stomp.tcp.ip = 127.0.0.1\nweb_stomp.tcp.port = %d\n",
			freePort(t), freePort(t), port),
	} {
		writeFile(t, filepath.Join(directory, name), text)
	}
	epmd := exec.Command("epmd", "-relaxed_command_check")
	epmd.Env = environment
	start(t, epmd, nil).wantListening(t, mapper)
	cmd := exec.Command("/usr/lib/rabbitmq/bin/rabbitmq-server")
	cmd.Env = environment
	return cmd
}

// writeFile writes a file that other users may read.
func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
