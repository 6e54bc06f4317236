package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"sluice/internal/units"
	"sluice/proxy"
	"sluice/proxy/session"
)

// An api answers /api/v1/. Immutable; the state that it shows and changes guards itself.
type api struct {
	Options
	log *zap.Logger
}

// The answers that are not a view of package proxy.
type (
	// Listeners is the answer of GET /api/v1/listeners.
	Listeners struct {
		Listeners []proxy.ListenerView `json:"listeners"`
	}
	// Status is the answer of GET /api/v1/status.
	Status struct {
		Process
		Limits proxy.LimitsView `json:"limits"`
		Listeners
	}
	// Process is the part of Status that is not of the proxy.
	Process struct {
		Build      string      `json:"build"` // as `sluice version` prints it
		Start      time.Time   `json:"start"`
		LastReload *LastReload `json:"last_reload"` // nil: there was none since the start
		Older      []Older     `json:"older"`       // processes that have handed over to this one and still live
	}
	// Older is a process that an upgrade has replaced, and that keeps the sessions that could not move until they end.
	Older struct {
		PID      int `json:"pid"`
		Sessions int `json:"sessions"`
	}
	// Upgraded is the answer of POST /api/v1/upgrade.
	Upgraded struct {
		PID   int    `json:"pid"`   // of the new process
		Build string `json:"build"` // of the new process, as `sluice version` prints it
		Moved int    `json:"moved"` // sessions
		// Stayed are the sessions, handshakes and plain requests that stay in the old process until they end, by reason.
		Stayed       map[string]int `json:"stayed"`
		Seconds      float64        `json:"seconds"`               // from when the old process has stopped accepting until the new one has all
		LongestPause float64        `json:"longest_pause_seconds"` // of a session
	}
	// LastReload is the last reload of the configuration, applied or refused.
	LastReload struct {
		At     time.Time `json:"at"`     // when it ended
		Result string    `json:"result"` // applied or refused, as in sluice_config_reloads_total
		Error  string    `json:"error,omitempty"`
	}
	// Routes is the answer of GET /api/v1/routes.
	Routes struct {
		Routes []proxy.RouteView `json:"routes"`
	}
	// Pools is the answer of GET /api/v1/pools.
	Pools struct {
		Pools []proxy.PoolView `json:"pools"`
	}
	// Closes is the answer of GET /api/v1/closes.
	Closes struct {
		Closes []session.CloseView `json:"closes"`
	}
	// Closed is the answer of a DELETE: how many sessions were asked to close. They end when both peers have.
	Closed struct {
		Closed int `json:"closed"`
	}
	// Level is the answer of GET /api/v1/log/level, and what PUT takes.
	Level struct {
		Level string `json:"level"`
	}
	// Reloaded is the answer of POST /api/v1/reload.
	Reloaded struct {
		Status string `json:"status"` // applied
		// Waiting are the changed keys that only a restart makes effective, as "gateway.workers".
		Waiting []string `json:"waiting"`
	}
	// Configuration is the answer of GET /api/v1/config. Values that must not be shown are "***".
	Configuration struct {
		Files         []string     `json:"files"`         // that it was read from
		Configuration any          `json:"configuration"` // what runs: every key with its value
		Waiting       []WaitingKey `json:"waiting"`
		TOML          []byte       `json:"-"` // the same as TOML, with comments
	}
	// WaitingKey is a changed key that only a restart makes effective.
	WaitingKey struct {
		Key        string `json:"key"` // as "gateway.workers"
		Running    any    `json:"running"`
		Configured any    `json:"configured"`
	}
	// Error is the answer to what is refused.
	Error struct {
		Error string `json:"error"`
	}
)

func (a *api) addTo(routes *router) {
	routes.handle("GET", "/api/v1/openapi.json", handleDescription)
	routes.handle("GET", "/api/v1/totals", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, a.Proxy.Totals())
	})
	routes.handle("GET", "/api/v1/closes", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, Closes{a.Proxy.Sessions().Closes()})
	})
	routes.handle("GET", "/api/v1/listeners", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, Listeners{a.Proxy.Listeners()})
	})
	routes.handle("GET", "/api/v1/status", func(w http.ResponseWriter, _ *http.Request) {
		process := a.Process()
		process.Older = append([]Older{}, process.Older...)
		writeJSON(w, http.StatusOK, Status{process, a.Proxy.Limits(), Listeners{a.Proxy.Listeners()}})
	})
	routes.handle("GET", "/api/v1/routes", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, Routes{a.Proxy.Routes()})
	})
	routes.handle("GET", "/api/v1/pools", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, Pools{a.Proxy.Pools()})
	})
	routes.handle("POST", "/api/v1/pools/{pool}/backends/{address}/drain", a.drain)
	routes.handle("POST", "/api/v1/pools/{pool}/backends/{address}/undrain", a.undrain)
	routes.handle("GET", "/api/v1/sessions", a.listSessions)
	routes.handle("DELETE", "/api/v1/sessions", a.closeSessions)
	routes.handle("GET", "/api/v1/sessions/{id}", a.showSession)
	routes.handle("DELETE", "/api/v1/sessions/{id}", a.closeSession)
	routes.handle("GET", "/api/v1/log/level", a.showLevel)
	routes.handle("PUT", "/api/v1/log/level", a.setLevel)
	routes.handle("GET", "/api/v1/config", a.showConfiguration)
	if a.Reload != nil {
		routes.handle("POST", "/api/v1/reload", a.reload)
	}
	if a.Upgrade != nil {
		routes.handle("POST", "/api/v1/upgrade", a.upgrade)
	}
}

// mostDrain is the longest time over which a drain may be asked to spread: a longer one is a mistake.
const mostDrain = 24 * time.Hour

func (a *api) drain(w http.ResponseWriter, r *http.Request) {
	values, err := queryOf(r, "over")
	var over time.Duration
	if err == nil {
		over, err = ReadOver(values)
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	pool, address := r.PathValue("pool"), r.PathValue("address")
	if err := a.Proxy.Drain(pool, address, over); err != nil {
		writeError(w, http.StatusNotFound, err.Error())
		return
	}
	a.log.Info("drain asked for", zap.String("pool", pool), zap.String("backend", address), zap.Duration("over", over))
	a.showBackend(w, pool, address)
}

// ReadOver returns the time over which a drain is spread; zero if there is none.
func ReadOver(values url.Values) (time.Duration, error) {
	text := values.Get("over")
	if text == "" {
		return 0, nil
	}
	var over units.Duration
	if over.UnmarshalText([]byte(text)) != nil || over < 0 || over.Std() > mostDrain {
		return 0, fmt.Errorf("over=%q is not a duration from 0s to %s, such as 30s", text, units.Duration(mostDrain))
	}
	return over.Std(), nil
}

func (a *api) undrain(w http.ResponseWriter, r *http.Request) {
	pool, address := r.PathValue("pool"), r.PathValue("address")
	if err := a.Proxy.Undrain(pool, address); err != nil {
		writeError(w, http.StatusNotFound, err.Error())
		return
	}
	a.log.Info("undrain asked for", zap.String("pool", pool), zap.String("backend", address))
	a.showBackend(w, pool, address)
}

// showBackend answers with what has become of a backend.
func (a *api) showBackend(w http.ResponseWriter, pool, address string) {
	for _, p := range a.Proxy.Pools() {
		for _, b := range p.Backends {
			if p.Name == pool && b.Address == address {
				writeJSON(w, http.StatusOK, b)
				return
			}
		}
	}
	writeError(w, http.StatusNotFound, "the backend has gone")
}

func (a *api) showLevel(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, Level{a.Level.String()})
}

func (a *api) setLevel(w http.ResponseWriter, r *http.Request) {
	var want Level
	if err := readJSON(r, &want); err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	switch want.Level {
	case "debug", "info", "warn", "error":
	default:
		writeError(w, http.StatusBadRequest, fmt.Sprintf("level %q is none of debug, info, warn and error", want.Level))
		return
	}
	level, err := zapcore.ParseLevel(want.Level)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	a.log.Info("log level changed", zap.Stringer("from", a.Level), zap.Stringer("to", level))
	a.Level.SetLevel(level)
	a.showLevel(w, r)
}

// showConfiguration answers with the configuration that runs, as JSON or, with format=toml, as TOML.
func (a *api) showConfiguration(w http.ResponseWriter, r *http.Request) {
	values, err := queryOf(r, "format")
	format := values.Get("format")
	if err == nil && format != "" && format != "json" && format != "toml" {
		err = fmt.Errorf("format=%q is neither json nor toml", format)
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	shown := a.Configuration()
	if format != "toml" {
		writeJSON(w, http.StatusOK, shown)
		return
	}
	w.Header().Set("Content-Type", "application/toml")
	_, _ = w.Write(shown.TOML)
}

// reload answers when the new configuration is in use, or is refused with all of its problems.
func (a *api) reload(w http.ResponseWriter, r *http.Request) {
	waiting, err := a.Reload(r.Context())
	if err != nil {
		writeError(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	writeJSON(w, http.StatusOK, Reloaded{"applied", append([]string{}, waiting...)})
}

// upgrade answers when a new process has taken the gateway over, or with why it has not.
func (a *api) upgrade(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // it may take longer than other answers
	// The upgrade does not end with a client that has gone.
	report, err := a.Upgrade(context.WithoutCancel(r.Context()))
	if err != nil {
		writeError(w, http.StatusConflict, err.Error())
		return
	}
	writeJSON(w, http.StatusOK, report)
}

// readJSON reads a body that is one JSON object with the fields of value and no others.
func readJSON(r *http.Request, value any) error {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(value); err != nil {
		return fmt.Errorf("the body is not the JSON that is expected: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more than one JSON value in the body")
	}
	return nil
}

// queryOf returns the parameters of a request, each of which must be known, given once and not empty.
func queryOf(r *http.Request, known ...string) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("the query can't be read: %w", err)
	}
	for key, given := range values {
		isKnown := false
		for _, k := range known {
			isKnown = isKnown || k == key
		}
		switch {
		case !isKnown:
			return nil, fmt.Errorf("unknown parameter %q; known are %q", key, known)
		case len(given) > 1:
			return nil, fmt.Errorf("parameter %q is given more than once", key)
		case given[0] == "":
			return nil, fmt.Errorf("parameter %q is empty", key)
		}
	}
	return values, nil
}
