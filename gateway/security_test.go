package gateway

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// lastSecret returns the line of a key log with the first secret of a client's records, "" if there is none.
func lastSecret(text []byte) string {
	last := ""
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(line, []byte("CLIENT_TRAFFIC_SECRET_0 ")) {
			last = string(line)
		}
	}
	return last
}

func TestAReloadTurnsTheKeyLogOnAndOff(t *testing.T) {
	log := new(keptLog)
	g := startGateway(t, "", log)
	keys := filepath.Join(t.TempDir(), "keys.log")
	off, err := os.ReadFile(g.options.Path)
	if err != nil {
		t.Fatal(err)
	}
	on := bytes.Replace(off, []byte("self_signed = true"), fmt.Appendf(nil, "self_signed = true, key_log_file = %q", keys), 1)
	warnings := 0
	for i, isOn := range []bool{false, true, false, true} {
		text := off
		if isOn {
			text = on
			warnings++
		}
		if err := os.WriteFile(g.options.Path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := g.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		var own bytes.Buffer
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", g.Addr("secure").String(),
			&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, KeyLogWriter: &own})
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		_, err = conn.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
		if err == nil {
			_, err = conn.Read(make([]byte, 1)) // the handshake is done
		}
		_ = conn.Close()
		if err != nil {
			t.Fatal(err)
		}
		logged, err := os.ReadFile(keys)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		secret := lastSecret(own.Bytes())
		if secret == "" || bytes.Contains(logged, []byte(secret)) != isOn {
			t.Errorf("step %d, with a key log %v: the file has %q, the client %q", i, isOn, logged, own.Bytes())
		}
		eventually(t, "one warning for each reload with a key log", func() bool {
			n := 0
			for _, line := range log.lines(t, "configuration may not be what is meant") {
				if strings.Contains(fmt.Sprint(line["problem"]), "listener[1].tls.key_log_file: a reader of this file can decrypt all traffic of the listener") {
					n++
				}
			}
			return n == warnings
		})
	}
}

func TestTicketKeysGoOnByListener(t *testing.T) {
	old, heir := startGateway(t, "", new(keptLog)), startGateway(t, "", new(keptLog))
	states := old.security.ticketStates()
	if len(states) != 1 || len(states["secure"].Keys) != 1 {
		t.Fatalf("keys of %d listeners", len(states))
	}
	heir.security.restoreTickets(states)
	if got := heir.security.ticketStates()["secure"].Keys; len(got) != 1 || !bytes.Equal(got[0], states["secure"].Keys[0]) {
		t.Error("the keys are not those of the process before")
	}
	bad := states["secure"]
	bad.Keys = [][]byte{{1}}
	states["secure"] = bad
	heir.security.restoreTickets(states)
	if got := heir.security.ticketStates()["secure"].Keys; len(got) != 1 || len(got[0]) != 32 {
		t.Error("took keys that can't be used")
	}
}
