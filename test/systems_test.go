//go:build unix

package test

import (
	"os"
	"os/exec"
	"testing"
)

// Faults C15. vet reads the tests too, so that they build.
func TestTheProgramAndItsTestsBuildForOtherSystems(t *testing.T) {
	for _, system := range []string{"darwin", "freebsd", "windows"} {
		vet := exec.Command("go", "vet", "./...")
		vet.Dir, vet.Env = "..", append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
		if out, err := vet.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", system, err, out)
		}
	}
}
