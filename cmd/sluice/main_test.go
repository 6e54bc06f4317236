package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const goodConfig = "../../config.example.toml"

// invoke runs the program within the test.
func invoke(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = dispatch(args, &out, &err)
	return code, out.String(), err.String()
}

func TestEachWayToCallHasItsExitCode(t *testing.T) {
	tests := []struct {
		args   string
		code   int
		stdout string // something that it holds; empty: it is empty
		stderr string
	}{
		{"", exitUsage, "", "usage:"},
		{"help", exitClean, "sluice check [FILE]", ""},
		{"-h", exitClean, "usage:", ""},
		{"server", exitUsage, "", `unknown command "server"`},
		{"version", exitClean, "sluice ", ""},
		{"version 2", exitUsage, "", `unexpected argument "2"`},
		{"run -config testdata/none.toml", exitUsage, "", "testdata/none.toml"},
		{"run", exitUsage, "", "there is no ./sluice.toml here"},
		{"run -h", exitClean, "-listen ADDR", ""},
		{"run -to 127.0.0.1:1 -config x", exitUsage, "", "-config and -to can't be combined"},
		{"run -listen 127.0.0.1:0", exitUsage, "", "-listen needs -to"},
		{"run -to nowhere", exitUsage, "", `run: -to: no port, got "nowhere" (want host:port`},
		{"run -to 127.0.0.1:1 -listen nowhere", exitUsage, "", `run: -listen: not an address, got "nowhere"`},
		{"run serve", exitUsage, "", `unexpected argument "serve"`},
		{"demo -x", exitUsage, "", "flag provided but not defined: -x"},
		{"check", exitUsage, "", "open sluice.toml: no such file or directory"},
		{"check -config", exitUsage, "", "flag needs an argument: -config"},
		{"check -h", exitClean, "-config FILE", ""},
		{"check -file x", exitUsage, "", "flag provided but not defined: -file"},
		{"check -config " + goodConfig, exitClean, goodConfig + ": OK", ""},
		{"check " + goodConfig, exitClean, goodConfig + ": OK", ""},
		{"check " + goodConfig + " extra", exitUsage, "", `unexpected argument "extra"`},
		{"check -config " + goodConfig + " extra", exitUsage, "", "the configuration is named twice"},
		{"schema", exitClean, "https://json-schema.org/draft/2020-12/schema", ""},
		{"schema x", exitUsage, "", `unexpected argument "x"`},
		{"check -config testdata/none.toml", exitUsage, "", "testdata/none.toml"},
		{"import -h", exitClean, "sluice import -from nginx /etc/nginx/nginx.conf", ""},
		{"import x.conf", exitUsage, "", "-from is missing"},
		{"import -from apache x.conf", exitUsage, "", "-from apache: want one of "},
		{"import -from nginx", exitUsage, "", "FILE is missing"},
		{"import -from nginx testdata/none.conf", exitFailure, "", "testdata/none.conf"},
		{"echo -listen nowhere", exitUsage, "", "-listen nowhere is not an address"},
		{"echo -listen 192.0.2.1:0", exitFailure, "", "192.0.2.1"},
		{"bench", exitUsage, "", "-url is missing"},
		{"bench -h", exitClean, "-allow-remote", ""},
		{"bench -url ws://127.0.0.1:1/ 5", exitUsage, "", `unexpected argument "5"`},
		{"bench -url http://127.0.0.1:1/", exitUsage, "", "want ws://HOST[:PORT]/PATH or wss://"},
		{"bench -url ws://192.0.2.1/", exitUsage, "", "192.0.2.1 is not a loopback address: -allow-remote"},
		{"bench -url ws://127.0.0.1:1/ -mode flood", exitUsage, "", "-mode flood: want one of"},
		{"bench -url ws://127.0.0.1:1/ -size 1ZB", exitUsage, "", `"1ZB" is not a number of bytes`},
		{"bench -url ws://127.0.0.1:1/ -pid x", exitUsage, "", `"x" is not a process id`},
		{"bench -url ws://127.0.0.1:1/ -pid 1073741824", exitUsage, "", "-pid 1073741824: there is no such process"},
		{"bench -url wss://127.0.0.1:1/ -ca testdata/none.pem", exitUsage, "", "-ca: open testdata/none.pem"},
		{"echo -port 1", exitUsage, "", "usage: sluice echo [-listen ADDR]"},
	}
	for _, test := range tests {
		code, stdout, stderr := invoke(strings.Fields(test.args)...)
		if code != test.code {
			t.Errorf("sluice %s: exit code %d, want %d", test.args, code, test.code)
		}
		if !strings.Contains(stdout, test.stdout) || (test.stdout == "") != (stdout == "") {
			t.Errorf("sluice %s: stdout %q, want %q in it", test.args, stdout, test.stdout)
		}
		if !strings.Contains(stderr, test.stderr) || (test.stderr == "") != (stderr == "") {
			t.Errorf("sluice %s: stderr %q, want %q in it", test.args, stderr, test.stderr)
		}
	}
}

func TestCheckTellsEveryProblemOnALineOfItsOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "broken.toml")
	if err := os.WriteFile(path, []byte("[gateway]\nworkers = -1\n[log]\nlevel = \"loud\"\ncolour = true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := invoke("check", "-config", path)
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	if code != exitUsage || stdout != "" || len(lines) != 6 {
		t.Fatalf("exit code %d, stdout %q, stderr:\n%s\nwant 2, nothing, and six lines", code, stdout, stderr)
	}
	for _, line := range lines {
		if !strings.HasPrefix(line, path+":") {
			t.Errorf("line %q doesn't start with the file", line)
		}
	}
}

// Faults D.
func TestCheckPrintsWarningsAndSucceeds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spare.toml")
	text := "[[listener]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n[[route]]\npool = \"echo\"\n[[pool]]\nname = \"echo\"\nbackend = [{ address = \"127.0.0.1:9000\" }]\n" +
		"[[pool]]\nname = \"spare\"\nbackend = [{ address = \"127.0.0.1:9001\" }]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := invoke("check", "-config", path)
	if want := path + ":9: warning: pool[1]: no route uses the pool \"spare\"\n"; code != exitClean || stdout != path+": OK\n" || stderr != want {
		t.Errorf("check: %d %q %q, want 0, OK, %q", code, stdout, stderr, want)
	}
}

func TestUsageListsEveryCommand(t *testing.T) {
	_, stdout, _ := invoke("help")
	for _, c := range commands() {
		if !strings.Contains(stdout, "sluice "+c.usage) || !strings.HasPrefix(c.usage, c.name) || c.summary == "" {
			t.Errorf("usage of %q isn't told", c.name)
		}
	}
}

func TestEachCommandHasHelpWithAnExample(t *testing.T) {
	for _, c := range commands() {
		code, stdout, stderr := invoke(c.name, "-h")
		if code != exitClean || stderr != "" || !strings.HasPrefix(stdout, "usage: sluice "+c.usage+"\n\n") || !strings.Contains(stdout, "\nexamples:\n  sluice "+c.name) {
			t.Errorf("sluice %s -h: %d, stdout %q, stderr %q", c.name, code, stdout, stderr)
		}
	}
	if len(help()) != len(commands()) {
		t.Errorf("help of %d commands, there are %d", len(help()), len(commands()))
	}
}
