package systemd

import (
	"os/exec"
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
