package admin

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"go.uber.org/zap"

	"sluice/internal/units"
	"sluice/proxy/relay"
	"sluice/proxy/session"
)

// How many sessions a page has.
const (
	usualPage = 100
	MostPage  = 1000 // half a megabyte of JSON
)

// filters are the parameters that choose sessions.
var filters = []string{"id", "listener", "route", "pool", "backend", "client", "path", "idle", "age"}

func (a *api) listSessions(w http.ResponseWriter, r *http.Request) {
	values, err := queryOf(r, append([]string{"limit", "cursor"}, filters...)...)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	query, err := readFilter(values)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	limit := usualPage
	if text := values.Get("limit"); text != "" {
		limit, err = strconv.Atoi(text)
		if err != nil || limit < 1 || limit > MostPage {
			writeError(w, http.StatusBadRequest, fmt.Sprintf("limit=%q is not a number from 1 to %d", text, MostPage))
			return
		}
	}
	page, err := a.Proxy.Sessions().Page(query, values.Get("cursor"), limit)
	if err != nil {
		writeError(w, http.StatusBadRequest, "cursor: "+err.Error())
		return
	}
	if err := a.checkNames(query, len(page.Sessions)); err != nil {
		writeError(w, http.StatusNotFound, err.Error())
		return
	}
	writeJSON(w, http.StatusOK, page)
}

func (a *api) showSession(w http.ResponseWriter, r *http.Request) {
	view, isLive := a.Proxy.Sessions().View(r.PathValue("id"))
	if !isLive {
		writeError(w, http.StatusNotFound, "no live session has that id")
		return
	}
	writeJSON(w, http.StatusOK, view)
}

func (a *api) closeSession(w http.ResponseWriter, r *http.Request) {
	values, err := queryOf(r, "code")
	var code uint16
	if err == nil {
		code, err = readCode(values)
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	if !a.Proxy.Sessions().Close(r.PathValue("id"), code) {
		writeError(w, http.StatusNotFound, "no live session has that id")
		return
	}
	a.log.Info("session closed by the operator", zap.String("session", r.PathValue("id")), zap.Uint16("close_code", code))
	writeJSON(w, http.StatusOK, Closed{1})
}

// closeSessions closes all sessions of a filter. One that chooses everything must say so: it may be a slip.
func (a *api) closeSessions(w http.ResponseWriter, r *http.Request) {
	values, err := queryOf(r, append([]string{"code", "all"}, filters...)...)
	var query *session.Query
	var code uint16
	if err == nil {
		query, err = readFilter(values)
	}
	if err == nil {
		code, err = readCode(values)
	}
	isAll := values.Get("all") == "true"
	switch {
	case err != nil:
	case values.Has("all") && !isAll:
		err = errors.New("all can only be true")
	case isAll == (*query != session.Query{}):
		err = errors.New("either a filter or all=true has to say which sessions are meant")
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	count := a.Proxy.Sessions().CloseAll(query, code)
	if err := a.checkNames(query, count); err != nil {
		writeError(w, http.StatusNotFound, err.Error())
		return
	}
	a.log.Info("sessions closed by the operator", zap.Int("sessions", count), zap.String("query", values.Encode()))
	writeJSON(w, http.StatusOK, Closed{count})
}

// checkNames reports the first name of a query that nothing has, where it has chosen no sessions. What a reload has removed has its
// name for as long as it has sessions.
func (a *api) checkNames(query *session.Query, found int) error {
	if found > 0 {
		return nil
	}
	has := func(name string) bool { return name == "" }
	isListener, isRoute, isPool, isBackend := has(query.Listener), has(query.Route), has(query.Pool), has(query.Backend)
	for _, l := range a.Proxy.Listeners() {
		isListener = isListener || l.Name == query.Listener
	}
	for _, r := range a.Proxy.Routes() {
		isRoute = isRoute || r.Name == query.Route
	}
	for _, p := range a.Proxy.Pools() {
		isPool = isPool || p.Name == query.Pool
		for _, b := range p.Backends {
			isBackend = isBackend || b.Address == query.Backend
		}
	}
	switch {
	case !isListener:
		return fmt.Errorf("no listener %q", query.Listener)
	case !isRoute:
		return fmt.Errorf("no route %q", query.Route)
	case !isPool:
		return fmt.Errorf("no pool %q", query.Pool)
	case !isBackend:
		return fmt.Errorf("no backend %q", query.Backend)
	default:
		return nil
	}
}

// CheckSelection reports what is wrong with the parameters that choose sessions, or with the code that closes them.
func CheckSelection(values url.Values) error {
	if _, err := readFilter(values); err != nil {
		return err
	}
	_, err := readCode(values)
	return err
}

// readFilter returns the query that filters make.
func readFilter(values url.Values) (*session.Query, error) {
	query := session.Query{
		ID:       values.Get("id"),
		Listener: values.Get("listener"),
		Route:    values.Get("route"),
		Pool:     values.Get("pool"),
		Backend:  values.Get("backend"),
		Path:     values.Get("path"),
	}
	if query.Path != "" && query.Path[0] != '/' {
		return nil, fmt.Errorf("path=%q does not begin with a slash", query.Path)
	}
	var err error
	if query.Client, err = readClient(values.Get("client")); err != nil {
		return nil, err
	}
	if query.Idle, err = readDuration(values, "idle"); err != nil {
		return nil, err
	}
	if query.Age, err = readDuration(values, "age"); err != nil {
		return nil, err
	}
	return &query, nil
}

// readClient reads an address or a prefix; the zero Prefix of nothing.
func readClient(text string) (netip.Prefix, error) {
	if text == "" {
		return netip.Prefix{}, nil
	}
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return prefix, nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("client=%q is not an address or a prefix, such as 10.0.0.0/8", text)
	}
	addr = addr.WithZone("").Unmap()
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

// readDuration reads a duration over zero; zero of nothing.
func readDuration(values url.Values, key string) (time.Duration, error) {
	text := values.Get(key)
	if text == "" {
		return 0, nil
	}
	var d units.Duration
	if err := d.UnmarshalText([]byte(text)); err != nil || d <= 0 {
		return 0, fmt.Errorf("%s=%q is not a duration over 0s, such as 5m", key, text)
	}
	return d.Std(), nil
}

// readCode reads a close code; zero of nothing: each route's own for a drain.
func readCode(values url.Values) (uint16, error) {
	text := values.Get("code")
	if text == "" {
		return 0, nil
	}
	code, err := strconv.Atoi(text)
	if err != nil || !relay.IsCloseCode(code) {
		return 0, fmt.Errorf("code=%q is not a close code that may be sent: 1000-1003, 1007-1014 or 3000-4999", text)
	}
	return uint16(code), nil
}
