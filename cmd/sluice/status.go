package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/internal/admin"
	"sluice/proxy"
)

// A gatewayStatus is what status prints.
type gatewayStatus struct {
	IsReady bool   `json:"ready"`
	unready string // why it isn't ready
	admin.Status
	admin.Routes
	admin.Pools
}

// status prints the listeners, routes and backends of a running gateway, and their state.
func status(c call) error {
	q := c.newAdminCall("status")
	q.patience = 5 * time.Second
	isHealth := q.flags.Bool("health", false, "only check that the process is alive, which needs no token; print nothing if it is")
	if _, err := q.parse(0); err != nil {
		return err
	}
	if *isHealth {
		return q.send("GET", "/healthz", nil, nil)
	}
	var s gatewayStatus
	var err error
	if s.unready, err = q.unready(); err != nil {
		return err
	}
	s.IsReady = s.unready == ""
	for path, value := range map[string]any{"status": &s.Status, "routes": &s.Routes, "pools": &s.Pools} {
		if err := q.send("GET", "/api/v1/"+path, nil, value); err != nil {
			return err
		}
	}
	if q.isJSON {
		return q.printJSON(s)
	}
	return q.printStatus(&s)
}

// unready returns why the gateway isn't ready, as GET /readyz says it, or "".
func (q *adminCall) unready() (string, error) {
	err := q.send("GET", "/readyz", nil, nil)
	var refused *refusal
	if errors.As(err, &refused) && refused.status == http.StatusServiceUnavailable {
		return refused.text, nil
	}
	return "", err
}

func (q *adminCall) printStatus(s *gatewayStatus) error {
	state := "ready"
	if !s.IsReady {
		state = s.unready
	}
	if _, err := fmt.Fprintf(q.stdout, "gateway at %s: %s\n%s\n\n", q.address, state, originOf(&s.Process)); err != nil {
		return err
	}
	gateway := q.newTable("CONNECTIONS", "SESSIONS")
	gateway.row(useOf(s.Limits.Connections, s.Limits.MaxConnections), useOf(s.Limits.Sessions, s.Limits.MaxSessions))
	listeners := q.newTable("LISTENER", "ADDRESS", "CONNECTIONS", "IDLE", "HANDSHAKES", "REQUESTS", "SESSIONS", "REFUSED")
	for _, l := range s.Status.Listeners.Listeners {
		listeners.row(l.Name, l.Address, useOf(l.Connections, l.MaxConnections), useOf(int64(l.Idle), int64(l.MaxIdle)),
			useOf(l.Handshakes, l.MaxHandshakes), useOf(l.Requests, l.MaxRequests), useOf(l.Sessions, l.MaxSessions), countsOf(l.Refused))
	}
	routes := q.newTable("ROUTE", "LISTENER", "POOL", "SESSIONS")
	for _, r := range s.Routes.Routes {
		if len(r.Pools) == 0 {
			routes.row(r.Name, orAny(r.Listener), cmp.Or(r.Pool, "-"), number(r.Sessions))
		}
		for _, share := range r.Pools {
			routes.row(r.Name, orAny(r.Listener), fmt.Sprintf("%s (weight %d)", share.Pool, share.Weight), number(share.Sessions))
		}
	}
	pools := q.newTable("POOL", "BACKEND", "STATE", "WEIGHT", "SESSIONS", "FAILURES", "LAST ERROR")
	for _, p := range s.Pools.Pools {
		for _, b := range p.Backends {
			pools.row(p.Name, b.Address, stateOf(&b), number(b.Weight), number(b.Sessions), countsOf(b.Failures), lastErrorOf(&b))
		}
	}
	for i, t := range []*table{gateway, listeners, routes, pools} {
		if i > 0 {
			if _, err := fmt.Fprintln(q.stdout); err != nil {
				return err
			}
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	return nil
}

// originOf describes the process in a line: its build, its start, its last reload, and the processes before it that still live. The problems of a refused reload, one a line, are in
// the answer of `sluice reload` and in the log.
func originOf(p *admin.Process) string {
	text := fmt.Sprintf("build %s, started %s", p.Build, p.Start.Local().Format(time.DateTime))
	if r := p.LastReload; r != nil {
		text += fmt.Sprintf(", last reload %s at %s", r.Result, r.At.Local().Format(time.DateTime))
	}
	for _, o := range p.Older {
		text += fmt.Sprintf(", older process %d with %s", o.PID, counted(o.Sessions, "session"))
	}
	return printable(text)
}

func stateOf(b *proxy.BackendView) string {
	state := b.State
	if b.EjectedUntil != nil {
		state += " until " + b.EjectedUntil.Local().Format(time.TimeOnly)
	}
	if b.Backup {
		state += ", backup"
	}
	return state
}

// useOf shows how much of a limit is in use.
func useOf(n, limit int64) string {
	if limit == 0 {
		return number(n)
	}
	return number(n) + "/" + number(limit)
}

// countsOf lists reasons with their counts, the most frequent first.
func countsOf(counts map[string]uint64) string {
	var reasons []string
	for reason, n := range counts {
		if n > 0 {
			reasons = append(reasons, reason)
		}
	}
	slices.SortFunc(reasons, func(x, y string) int {
		if d := int64(counts[y]) - int64(counts[x]); d != 0 {
			return int(d)
		}
		return strings.Compare(x, y)
	})
	for i, reason := range reasons {
		reasons[i] = fmt.Sprintf("%s %d", reason, counts[reason])
	}
	return strings.Join(reasons, ", ")
}

// lastErrorOf returns the last failure, and since when the backend fails or when that was.
func lastErrorOf(b *proxy.BackendView) string {
	switch f := b.LastFailure; {
	case f == nil:
		return ""
	case f.Since != nil:
		return f.Error + ", fails since " + f.Since.Local().Format(time.DateTime)
	default:
		return f.Error + ", at " + f.At.Local().Format(time.DateTime)
	}
}

func number[N int | int64 | uint64](n N) string { return strconv.FormatInt(int64(n), 10) }

func orAny(name string) string {
	if name == "" {
		return "(any)"
	}
	return name
}
