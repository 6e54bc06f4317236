package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sluice/internal/admin"
)

// upgradePatience is far above what an upgrade takes: the gateway bounds each of its steps by handover_timeout.
const upgradePatience = time.Hour

// upgrade makes a running gateway start its program's file anew and hand all to the new process.
func upgrade(c call) error {
	q := c.newAdminCall("upgrade")
	q.patience = upgradePatience
	if _, err := q.parse(0); err != nil {
		return err
	}
	var report admin.Upgraded
	if err := q.send("POST", "/api/v1/upgrade", nil, &report); err != nil {
		return err
	}
	if q.isJSON {
		return q.printJSON(report)
	}
	_, err := fmt.Fprintln(q.stdout, describeUpgrade(&report))
	return err
}

// describeUpgrade returns a report in a line.
func describeUpgrade(r *admin.Upgraded) string {
	text := fmt.Sprintf("moved %s in %v (longest pause %v)", counted(r.Moved, "session"), secondsOf(r.Seconds), secondsOf(r.LongestPause))
	var stayed []string
	for _, reason := range slices.Sorted(maps.Keys(r.Stayed)) {
		n := r.Stayed[reason]
		switch reason {
		case "tls_1_2":
			stayed = append(stayed, fmt.Sprintf("%d over TLS 1.2", n))
		case "http2":
			stayed = append(stayed, fmt.Sprintf("%d over HTTP/2", n))
		case "goroutine":
			stayed = append(stayed, fmt.Sprintf("%d that no event loop has", n))
		case "closing":
			stayed = append(stayed, fmt.Sprintf("%d that are closing", n))
		case "handshake":
			stayed = append(stayed, counted(n, "handshake")+" under way")
		case "request":
			stayed = append(stayed, counted(n, "plain request")+" under way")
		case "refused":
			stayed = append(stayed, fmt.Sprintf("%d that the new process refused", n))
		default: // of a newer gateway
			stayed = append(stayed, fmt.Sprintf("%d (%s)", n, printable(reason)))
		}
	}
	if len(stayed) > 0 {
		text += "; stayed: " + strings.Join(stayed, ", ")
	}
	return fmt.Sprintf("%s; new process %d, build %s", text, r.PID, printable(r.Build))
}

func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func secondsOf(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond)
}
