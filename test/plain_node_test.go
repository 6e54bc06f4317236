//go:build unix

package test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
)

var needPlainNode = need{"Node", "nodejs (Debian)", succeeds("node", "--version")}

// An outcome is what became of a plain request of Node's.
type outcome struct {
	Status                  int
	Phrase, Length, Upgrade string
	Bytes                   int
	End                     string // "whole", or the code of an error
}

// Node's client sees of Node's server what it sees without a gateway between them.
// Faults B15, B19, D: a backend's reason phrase, a 304's Content-Length and a 426's Upgrade.
func TestPlainAnswersOfNodeArriveAsTheyAre(t *testing.T) {
	t.Parallel()
	requires(t, needPlainNode)
	cmd := exec.Command("node", "peers/plain.js", "serve")
	var output io.Reader
	start(t, cmd, func() (err error) {
		output, err = cmd.StdoutPipe()
		return err
	})
	port, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	backend := "127.0.0.1:" + strings.TrimSpace(port)
	direct := askNode(t, backend)
	if len(direct) == 0 || direct["/broken/length"].Bytes != 40000 {
		t.Fatalf("without a gateway: %v", direct)
	}
	eachDriver(t, func(t *testing.T, on func(string) string) {
		g := runGateway(t, on(basics+fmt.Sprintf("[[route]]\npool = \"pool\"\nwrite_timeout = \"1h\"\n[[pool]]\nname = \"pool\"\nbackend = [{ address = %q }]\n", backend)))
		through := askNode(t, g.listeners["public"])
		for path, want := range direct {
			got := through[path]
			if path == "/gone" {
				want = outcome{Status: 502, Phrase: "Bad Gateway", End: "whole"}
				got.Length, got.Bytes = "", 0
			}
			if got != want {
				t.Errorf("%s: %+v, want %+v", path, got, want)
			}
		}
	})
}

// askNode has Node's client ask all of an address.
func askNode(t *testing.T, address string) (all map[string]outcome) {
	t.Helper()
	limit, cancel := context.WithTimeout(context.Background(), 6*patience)
	defer cancel()
	out, err := exec.CommandContext(limit, "node", "peers/plain.js", "ask", address).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatal(err)
	}
	return all
}
