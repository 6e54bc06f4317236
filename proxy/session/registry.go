package session

import (
	"strconv"
	"sync"

	"sluice/internal/recovery"
	"sluice/proxy/driver"
	"sluice/proxy/reach"
)

// Config is what a Registry needs of the gateway. Its functions are called by any goroutine.
type Config struct {
	// Ended accounts for a session that has ended: metrics, its access line.
	Ended func(*Session, *driver.Result)
	// MayBlock reports whether Ended may block for the session, as on a slow log.
	MayBlock func(*Session) bool
	// IsDraining reports whether the gateway closes its sessions: one that begins now is closed as well.
	IsDraining func() bool

	Panics recovery.Handler // nil means that panics are not recovered
}

// room is the name of this part of the program in calls of Config.Panics.
const room = "proxy"

// A Registry is the set of live sessions. Its methods may be called from any goroutine.
type Registry struct {
	config   Config // immutable
	closes   closes
	ender    ender
	farewell farewell

	mu sync.Mutex

	all   []*Session    // guarded by mu; from Add to remove
	empty chan struct{} // guarded by mu; closed after the last session has ended; nil if nothing waits for that
}

// NewRegistry returns a registry without sessions.
func NewRegistry(c Config) *Registry {
	return &Registry{config: c, closes: closes{counts: map[closeKind]uint64{}}}
}

// Add registers a session, until its end.
func (r *Registry) Add(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.index = len(r.all)
	r.all = append(r.all, s)
}

func (r *Registry) remove(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := len(r.all) - 1
	r.all[last].index = s.index
	r.all[s.index] = r.all[last]
	r.all[last] = nil
	r.all = r.all[:last]
	if last == 0 && r.empty != nil {
		close(r.empty)
		r.empty = nil
	}
}

// Count returns the number of sessions, those included whose connections the driver does not own yet.
func (r *Registry) Count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.all)
}

// List returns the sessions whose connections the driver owns, in no order.
func (r *Registry) List() []*Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	live := make([]*Session, 0, len(r.all))
	for _, s := range r.all {
		if s.isRelayed.Load() {
			live = append(live, s)
		}
	}
	return live
}

// find returns the session of that id if the driver owns its connections, otherwise nil.
func (r *Registry) find(id string) *Session {
	n, err := strconv.ParseUint(id, 16, 64)
	if err != nil || reach.FormatID(n) != id {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.all {
		if s.ID == n && s.isRelayed.Load() {
			return s
		}
	}
	return nil
}

// Gone returns a channel that is closed when no session is left.
func (r *Registry) Gone() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		done := make(chan struct{})
		close(done)
		return done
	}
	if r.empty == nil {
		r.empty = make(chan struct{})
	}
	return r.empty
}
