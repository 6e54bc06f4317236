package proxy

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

// unread returns how many bytes of the client wait in the gateway's socket.
func unread(t *testing.T, g *gateway, client *wire) (n int) {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	port := func(a net.Addr) string { return fmt.Sprintf(":%04X ", a.(*net.TCPAddr).Port) }
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasSuffix(fields[1]+" ", port(g.Addr("public"))) && strings.HasSuffix(fields[2]+" ", port(client.LocalAddr())) {
			_, _ = fmt.Sscanf(strings.Split(fields[4], ":")[1], "%X", &n)
		}
	}
	return n
}
