package systemd

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestSystemdAcceptsTheUnit(t *testing.T) {
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is missing: install systemd (Debian); left out: the check of deploy/sluice.service")
	}
	if out, err := exec.Command(program, "verify", "../../deploy/sluice.service").CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// unitLines returns the lines of the unit's sections.
func unitLines(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/sluice.service")
	if err != nil {
		t.Fatal(err)
	}
	sections, section := map[string][]string{}, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
		}
		sections[section] = append(sections[section], line)
	}
	return sections
}

// Faults C14.
func TestTheUnitReadsSecretsWritesItsLogAndReportsARefusedReload(t *testing.T) {
	lines := unitLines(t)
	if !slices.Contains(lines["[Unit]"], "StartLimitIntervalSec=0") {
		t.Error("a gateway that ended five times isn't started again")
	}
	service := lines["[Service]"]
	if !slices.Contains(service, "LogsDirectory=sluice") {
		t.Error("the gateway can't write a log file")
	}
	var start string
	var reloads []string
	for _, line := range service {
		if command, isIt := strings.CutPrefix(line, "ExecStart="); isIt {
			start = command
		}
		if command, isIt := strings.CutPrefix(line, "ExecReload="); isIt {
			reloads = append(reloads, command)
		}
	}
	if check := strings.Replace(start, " run ", " check ", 1); len(reloads) != 2 || reloads[0] != check || reloads[1] != "/bin/kill -HUP $MAINPID" {
		t.Errorf("a reload runs %q, want a check of the file that %q reads, and a signal", reloads, start)
	}
	for _, secret := range []string{"admin.token", "tls.key"} {
		if !slices.Contains(service, "LoadCredential="+secret+":/etc/sluice/"+secret) || !slices.Contains(service, "SetCredential="+secret+":missing") {
			t.Errorf("%s isn't loaded, or must be there", secret)
		}
	}
}
