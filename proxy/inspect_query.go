package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/proxy/driver"
)

// A SessionQuery chooses live sessions: those that fit all of its fields. The zero value chooses every one.
type SessionQuery struct {
	ID string // empty: any

	Listener, Route, Pool, Backend string // names; empty: any

	Client netip.Prefix  // where the client's address is; zero: anywhere
	Path   string        // what the path begins with
	Idle   time.Duration // without data for longer than this; 0: any
	Age    time.Duration // older than this; 0: any
}

// A SessionPage is a part of the sessions that a query chooses, the oldest first.
type SessionPage struct {
	Sessions []SessionView `json:"sessions"`
	// Next is the cursor of the page behind this one; empty: this is the last.
	Next string `json:"next,omitempty"`
}

// ErrCursor is the error of Sessions for a cursor that no page had.
var ErrCursor = errors.New("not a cursor of a page")

// askChunk is how many sessions are asked at once whether they are idle, or what they have moved.
const askChunk = 1024

// Sessions returns a page of at most limit sessions behind cursor, which is empty for the first page. A session that lives from the
// first page to the last is on exactly one of them. It takes a turn of each loop a few times, never long.
func (p *Proxy) Sessions(q *SessionQuery, cursor string, limit int) (SessionPage, error) {
	behind, err := parseCursor(cursor)
	if err != nil {
		return SessionPage{}, err
	}
	now := time.Now()
	page := SessionPage{Sessions: []SessionView{}}
	left := p.chosen(q, behind, now)
	for len(left) > 0 {
		n := limit - len(page.Sessions)
		if q.Idle > 0 {
			n = max(n, askChunk)
		}
		some := left[:min(n, len(left))]
		found, stats := q.ask(some)
		for i, s := range found {
			page.Sessions = append(page.Sessions, s.view(&stats[i], now))
			if len(page.Sessions) == limit {
				if s != left[len(left)-1] {
					page.Next = placeOf(s).cursor()
				}
				return page, nil
			}
		}
		left = left[len(some):]
	}
	return page, nil
}

// closeChunk is how many sessions are closed before the loops are waited for: a close writes to two sockets.
const closeChunk = 16

// CloseSessions asks for closes of all sessions that a query chooses, with a code as CloseSession takes it, and returns how many.
// It waits for the loops, so that no turn has many of them to do.
func (p *Proxy) CloseSessions(q *SessionQuery, code uint16) int {
	count := 0
	for some := range slices.Chunk(p.chosen(q, place{}, time.Now()), closeChunk) {
		found, _ := q.ask(some)
		for _, s := range found {
			s.closeFor(code)
		}
		q.ask(found) // the answer comes behind the closes
		count += len(found)
	}
	return count
}

// ask returns those of some sessions that live and have been idle for long enough, and what they have done so far.
func (q *SessionQuery) ask(some []*session) (found []*session, stats []driver.Stats) {
	handles := make([]*driver.Handle, len(some))
	for i, s := range some {
		handles[i] = &s.handle
	}
	all, isLive := driver.StatsOf(handles)
	for i, s := range some {
		if isLive[i] && all[i].Idle >= q.Idle {
			found, stats = append(found, s), append(stats, all[i])
		}
	}
	return found, stats
}

// chosen returns the sessions behind a place that a query chooses as far as the registry knows, the oldest first: whether they are
// idle, only the driver does.
func (p *Proxy) chosen(q *SessionQuery, behind place, now time.Time) []*session {
	all := slices.DeleteFunc(p.sessions.list(), func(s *session) bool {
		return placeOf(s).compare(behind) <= 0 || !q.fits(s, now)
	})
	slices.SortFunc(all, func(a, b *session) int { return placeOf(a).compare(placeOf(b)) })
	return all
}

func (q *SessionQuery) fits(s *session, now time.Time) bool {
	isNamed := func(want, name string) bool { return want == "" || want == name }
	return (q.ID == "" || q.ID == formatID(s.id)) &&
		isNamed(q.Listener, s.listener.name) &&
		isNamed(q.Route, s.route.Name) &&
		isNamed(q.Pool, s.route.PoolName) &&
		isNamed(q.Backend, s.backend.Name()) &&
		(!q.Client.IsValid() || q.Client.Contains(s.client.Addr())) &&
		strings.HasPrefix(s.path(), q.Path) &&
		(q.Age == 0 || now.Sub(s.start) >= q.Age)
}

// A place is where a session stands in the order of all: by age, and by id where two began at once. It never changes, and who
// comes later stands behind, so that a list can be read in parts.
type place struct {
	start int64 // nanoseconds
	id    uint64
}

func placeOf(s *session) place { return place{s.start.UnixNano(), s.id} }

func (a place) compare(b place) int {
	return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.id, b.id))
}

func (a place) cursor() string { return fmt.Sprintf("%016x%016x", a.start, a.id) }

// parseCursor returns the place of a cursor; of the empty one, that before all.
func parseCursor(cursor string) (place, error) {
	if cursor == "" {
		return place{}, nil
	}
	if len(cursor) != 32 {
		return place{}, ErrCursor
	}
	start, errStart := strconv.ParseInt(cursor[:16], 16, 64)
	id, errID := strconv.ParseUint(cursor[16:], 16, 64)
	if errStart != nil || errID != nil {
		return place{}, ErrCursor
	}
	return place{start, id}, nil
}
