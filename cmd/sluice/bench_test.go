package main

import (
	"encoding/json"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestBenchReportsAsTableAndAsJSON(t *testing.T) {
	args := []string{"bench", "-url", "ws://" + startEcho(t), "-c", "3", "-n", "30", "-pid", strconv.Itoa(os.Getpid())}
	code, stdout, stderr := invoke(args...)
	if code != exitClean || stderr != "" || !strings.Contains(stdout, "messages") || !strings.Contains(stdout, "p99.9") {
		t.Errorf("%v: exit code %d, stdout %q, stderr %q; want 0, a table, and no progress where nobody looks", args, code, stdout, stderr)
	}
	code, stdout, stderr = invoke(append(args, "-json")...)
	var report struct {
		Messages int                `json:"messages"`
		Errors   *int               `json:"errors"`
		Latency  map[string]float64 `json:"latency_us"`
		CPU      float64            `json:"cpu_us_per_message"`
		RSS      *float64           `json:"rss_bytes_per_session"`
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatalf("%v: %v in %q", args, err, stdout)
	}
	if code != exitClean || stderr != "" || report.Messages != 30 || report.Errors == nil || *report.Errors != 0 || report.Latency["p50"] <= 0 || report.CPU <= 0 || report.RSS == nil {
		t.Errorf("%v -json: exit code %d, stderr %q, report %s; want 0 and 30 messages with their figures", args, code, stderr, stdout)
	}
}

func TestBenchWithErrorsFailsAndReportsThem(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	url := "ws://" + ln.Addr().String()
	for _, args := range [][]string{{"bench", "-url", url, "-c", "2"}, {"bench", "-url", url, "-c", "2", "-json"}} {
		code, stdout, stderr := invoke(args...)
		if code != exitFailure || !strings.Contains(stdout, "connect") || stderr != "sluice bench: 2 errors\n" {
			t.Errorf("%v: exit code %d, stdout %q, stderr %q; want 1 and two errors of the kind connect", args, code, stdout, stderr)
		}
	}
}

func TestProgressIsForTerminals(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if terminal(file) != nil || terminal(&strings.Builder{}) != nil {
		t.Error("a file or a buffer is taken for a terminal")
	}
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	defer pty.Close()
	if terminal(pty) == nil {
		t.Error("a terminal gets no progress")
	}
}
