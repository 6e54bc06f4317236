package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice/bench/peers"
)

// patience is for what a busy machine may take long for.
const patience = time.Minute

func TestComparisonMeasuresWhatIsInstalledAndNamesTheRest(t *testing.T) {
	if _, err := exec.LookPath("taskset"); err != nil {
		t.Skip("taskset is not installed")
	}
	t.Chdir("../..")
	// By count, so that it is no matter how busy the machine is.
	o := options{only: "^(tls-)?echo-64$", out: t.TempDir(), rounds: 2, limit: 1, duration: patience, loadArgs: []string{"-warmup", "0s", "-n", "500"}}
	if err := run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(o.out, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r result
	if err := json.Unmarshal(text, &r); err != nil || len(r.Rows) != 2 {
		t.Fatalf("results.json: %v, %d rows; want 2: %s", err, len(r.Rows), text)
	}
	if r.Rounds != 1 {
		t.Errorf("%d rounds; want 1, as a second one would not end within the limit", r.Rounds)
	}
	for _, p := range peers.All() {
		isMissing := false
		for _, m := range r.Missing {
			isMissing = isMissing || m.Name == p.Name
		}
		if plain := r.Rows[0].Cells[p.Name]; isMissing != (plain == nil) || plain != nil && plain.Median <= 0 {
			t.Errorf("%s: missing %v, plain %+v; want to have it named or measured", p.Name, isMissing, plain)
		}
		if overTLS := r.Rows[1].Cells[p.Name]; (isMissing || !p.HasTLS) != (overTLS == nil) {
			t.Errorf("%s: missing %v, over TLS %+v", p.Name, isMissing, overTLS)
		}
	}
}

func TestPeerThatIsMissingIsNamedAndLeftOut(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	b := &bench{result: &result{}, sluice: "/bin/true"}
	b.findPeers()
	for _, p := range b.peers {
		if p.Name == "floor" {
			t.Error("the floor is to be measured without a compiler")
		}
	}
	for _, m := range b.result.Missing {
		if m.Name == "floor" && m.Why == "cc is not installed" {
			return
		}
	}
	t.Errorf("missing = %+v; want the floor among them", b.result.Missing)
}

func TestInterruptedComparisonLeavesNothingBehind(t *testing.T) {
	if _, err := exec.LookPath("taskset"); err != nil {
		t.Skip("taskset is not installed")
	}
	program := filepath.Join(t.TempDir(), "compare")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			temp := t.TempDir()
			cmd := exec.Command(program, "-only", "^echo-64$", "-d", "1h", "-out", filepath.Join(temp, "out"))
			cmd.Dir = "../.."
			cmd.Env = append(os.Environ(), "TMPDIR="+temp)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			kill := time.AfterFunc(2*patience, func() { _ = cmd.Process.Kill() })
			defer kill.Stop()
			// The load runs once the backend and the peers do.
			var started []int
			for end := time.Now().Add(patience); !hasLoad(started) && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				started = descendants(cmd.Process.Pid)
			}
			if !hasLoad(started) {
				t.Errorf("no load is seen among %v", started)
			}
			_ = cmd.Process.Signal(sig)
			if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), "interrupted") {
				t.Errorf("ended with %v, %q; want exit code 1 and to be told why", err, &stderr)
			}
			for _, pid := range started {
				if line := commandLine(pid); strings.Contains(line, temp) {
					t.Errorf("process %d is still there: %s", pid, line)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func hasLoad(pids []int) bool {
	for _, pid := range pids {
		if strings.Contains(commandLine(pid), " bench ") {
			return true
		}
	}
	return false
}

// commandLine returns a process's directory and arguments, "" if it is gone.
func commandLine(pid int) string {
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(args) == 0 {
		return ""
	}
	dir, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	return dir + ": " + string(bytes.ReplaceAll(args, []byte{0}, []byte{' '}))
}

// descendants returns the processes that a process started, and those that they did.
func descendants(pid int) (pids []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, task := range tasks {
		children, _ := os.ReadFile(task)
		for field := range strings.FieldsSeq(string(children)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(append(pids, child), descendants(child)...)
			}
		}
	}
	return pids
}
