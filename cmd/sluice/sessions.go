package main

import (
	"flag"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sluice/internal/admin"
	"sluice/internal/units"
	"sluice/proxy/session"
)

// A sessionsCall is a call of sessions.
type sessionsCall struct {
	*adminCall
	filter  url.Values
	limit   int
	closes  bool
	isAll   bool
	code    string
	session string // empty: those of filter
}

// sessions lists live sessions, shows one, or closes them.
func sessions(c call) error {
	s := &sessionsCall{adminCall: c.newAdminCall("sessions"), filter: url.Values{}}
	for name, usage := range map[string]string{
		"listener": "select the sessions of the listener `NAME`",
		"route":    "select the sessions of the route `NAME`; sluice status shows the names",
		"pool":     "select the sessions of the pool `NAME`",
		"backend":  "select the sessions on the backend `ADDRESS`",
		"client":   "select the sessions of the client `ADDRESS`, or of a prefix such as 10.0.0.0/8",
		"path":     "select the sessions with this `PATH`, or a path below it",
		"idle":     "select the sessions without data for longer than `TIME`, such as 5m",
		"age":      "select the sessions older than `TIME`, such as 1h",
	} {
		s.flags.Var(filterFlag{s.filter, name}, name, usage)
	}
	s.flags.IntVar(&s.limit, "limit", 100, "list at most this `NUMBER` of sessions; 0 means all")
	s.flags.BoolVar(&s.closes, "close", false, "close the selected sessions")
	s.flags.BoolVar(&s.isAll, "all", false, "with -close and without a filter: close every session")
	s.flags.StringVar(&s.code, "code", "", "with -close: the close `CODE` (default: close_codes.drained of each route)")
	arguments, err := s.parse(1)
	if err != nil {
		return err
	}
	if len(arguments) > 0 {
		s.session = arguments[0]
	}
	switch {
	case s.session != "" && len(s.filter) > 0:
		return usageError{"a session ID and a filter can't be combined"}
	case !s.closes && (s.code != "" || s.isAll):
		return usageError{"-code and -all need -close"}
	case s.limit < 0:
		return usageError{"-limit is negative"}
	}
	if s.code != "" {
		s.filter.Set("code", s.code)
	}
	if err := admin.CheckSelection(s.filter); err != nil {
		return usageError{err.Error()}
	}
	switch {
	case s.closes:
		return s.close()
	case s.session != "":
		return s.show()
	}
	return s.list()
}

// A filterFlag is a flag that becomes a parameter of the API.
type filterFlag struct {
	filter url.Values
	name   string
}

// Set implements flag.Value.
func (f filterFlag) Set(value string) error {
	f.filter.Set(f.name, value)
	return nil
}

// String implements flag.Value.
func (f filterFlag) String() string { return "" }

var _ flag.Value = filterFlag{}

// list prints sessions, page by page.
func (s *sessionsCall) list() error {
	all := session.Page{Sessions: []session.View{}}
	for {
		limit := admin.MostPage
		if s.limit > 0 {
			limit = min(limit, s.limit-len(all.Sessions))
		}
		s.filter.Set("limit", strconv.Itoa(limit))
		var page session.Page
		if err := s.send("GET", "/api/v1/sessions", s.filter, &page); err != nil {
			return err
		}
		all.Sessions, all.Next = append(all.Sessions, page.Sessions...), page.Next
		if page.Next == "" || len(all.Sessions) == s.limit {
			break
		}
		s.filter.Set("cursor", page.Next)
	}
	if s.isJSON {
		return s.printJSON(all)
	}
	t := s.newTable("ID", "CLIENT", "ROUTE", "BACKEND", "AGE", "IDLE", "FRAMES", "BYTES", "PATH")
	for i := range all.Sessions {
		v := &all.Sessions[i]
		t.row(v.ID, v.Client.Address, v.Route, v.Backend.Address, seconds(v.AgeSeconds), seconds(v.IdleSeconds),
			bothWays(v.ToBackend.Frames, v.ToClient.Frames, number[uint64]), bothWays(v.ToBackend.Bytes, v.ToClient.Bytes, bytesText), v.Path)
	}
	if err := t.flush(); err != nil {
		return err
	}
	if all.Next != "" {
		_, err := fmt.Fprintf(s.stdout, "%d sessions, and there are more: -limit 0 lists all\n", len(all.Sessions))
		return err
	}
	_, err := fmt.Fprintf(s.stdout, "%d sessions\n", len(all.Sessions))
	return err
}

// show prints everything about one session.
func (s *sessionsCall) show() error {
	var v session.View
	if err := s.send("GET", "/api/v1/sessions/"+url.PathEscape(s.session), nil, &v); err != nil {
		return err
	}
	if s.isJSON {
		return s.printJSON(v)
	}
	t := s.newTable("session", v.ID)
	for _, row := range [][2]string{
		{"listener", v.Listener}, {"route", v.Route}, {"pool", v.Pool}, {"host", v.Host}, {"path", v.Path},
		{"subprotocol", v.Subprotocol}, {"extensions", strings.Join(v.Extensions, ", ")},
		{"started", v.Started.Local().Format(time.DateTime)}, {"age", seconds(v.AgeSeconds)}, {"idle", seconds(v.IdleSeconds)},
		{"client", sideText(&v.Client)}, {"backend", sideText(&v.Backend)},
		{"to backend", flowText(&v.ToBackend)}, {"to client", flowText(&v.ToClient)},
	} {
		t.row(row[0], row[1])
	}
	if v.IsClosing {
		t.row("closing", "yes")
	}
	return t.flush()
}

// close closes the session, or those of the filter.
func (s *sessionsCall) close() error {
	path := "/api/v1/sessions"
	if s.session != "" {
		path += "/" + url.PathEscape(s.session)
	}
	if s.isAll {
		s.filter.Set("all", "true")
	}
	var closed admin.Closed
	if err := s.send("DELETE", path, s.filter, &closed); err != nil {
		return err
	}
	if s.isJSON {
		return s.printJSON(closed)
	}
	_, err := fmt.Fprintf(s.stdout, "sessions closed: %d\n", closed.Closed)
	return err
}

func sideText(v *session.SideView) string {
	text := v.Address
	if v.HTTP == "2" {
		text += ", HTTP/2"
	}
	if v.TLS != "" {
		text += ", TLS " + v.TLS
	}
	if v.PingRTTSeconds != nil {
		text += ", ping " + time.Duration(*v.PingRTTSeconds*float64(time.Second)).String()
	}
	if v.QueuedBytes > 0 {
		text += ", " + bytesText(uint64(v.QueuedBytes)) + " queued"
	}
	return text
}

func flowText(v *session.FlowView) string {
	return fmt.Sprintf("%d frames, %d messages, %s", v.Frames, v.Messages, bytesText(v.Bytes))
}

// bothWays writes a count to the backend and the one back.
func bothWays(toBackend, toClient uint64, text func(uint64) string) string {
	return text(toBackend) + "/" + text(toClient)
}

// seconds writes a duration as short as it is of use.
func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < time.Second:
		d = d.Round(time.Millisecond)
	default:
		d = d.Round(time.Second)
	}
	return units.Duration(d).String()
}

// bytesText writes bytes with a unit.
func bytesText(n uint64) string {
	const unit = 1024
	if n < unit {
		return strconv.FormatUint(n, 10) + "B"
	}
	value, prefixes := float64(n)/unit, "KMGTPE"
	for value >= unit {
		value /= unit
		prefixes = prefixes[1:]
	}
	return fmt.Sprintf("%.1f%ciB", value, prefixes[0])
}
