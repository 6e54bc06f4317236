package session

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/balancer"
	"sluice/proxy/driver"
	"sluice/proxy/reach"
	"sluice/proxy/relay"
)

// A Query chooses live sessions: those that fit all of its fields. The zero value chooses every one.
type Query struct {
	ID string // empty means any

	Listener, Route, Pool, Backend string // names; empty means any

	Client netip.Prefix  // that contains the client's address; zero means any
	Path   string        // that the path is or lies below: /a/5 chooses /a/5 and /a/5/x, not /a/55
	Idle   time.Duration // without data for longer than this; 0 means any
	Age    time.Duration // older than this; 0 means any
}

// A Page is a part of the sessions that a query chooses, the oldest first.
type Page struct {
	Sessions []View `json:"sessions"`
	// Next is the cursor of the next page; empty on the last one.
	Next string `json:"next,omitempty"`
}

// ErrCursor is the error of Page for a cursor that no page had.
var ErrCursor = errors.New("not a cursor of a page")

// statsChunk is how many sessions the driver is asked about at once: whether they are idle, or what they have moved.
const statsChunk = 1024

// Page returns a page of at most limit sessions after cursor, which is empty for the first page. A session that lives from the first
// page to the last is on exactly one of them. Page waits for a few turns of each loop, never long.
func (r *Registry) Page(q *Query, cursor string, limit int) (Page, error) {
	after, err := parseCursor(cursor)
	if err != nil {
		return Page{}, err
	}
	now := time.Now()
	page := Page{Sessions: []View{}}
	left := r.choose(q, after, now)
	for len(left) > 0 {
		n := limit - len(page.Sessions)
		if q.Idle > 0 {
			n = max(n, statsChunk)
		}
		some := left[:min(n, len(left))]
		found, stats := q.filter(some)
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

// Close asks for a close of both sides of the session of that id. code is one that may be sent (relay.IsCloseCode), or 0 for the route's
// code of drained sessions. Close returns false if there is no such session.
func (r *Registry) Close(id string, code uint16) bool {
	s := r.find(id)
	if s == nil {
		return false
	}
	s.closeFor(code)
	return true
}

// closeFor closes a session for the operator.
func (s *Session) closeFor(code uint16) {
	if code == 0 {
		code = uint16(s.Route.CloseCodes.Drained)
	}
	s.close(code, relay.ReasonOperator)
}

// closeChunk is how many sessions are closed before the loops are waited for: a close writes to two sockets.
const closeChunk = 16

// CloseAll asks for closes of all sessions that a query chooses, with a code as Close takes it, and returns how many. It waits for
// the loops, so that no turn has many of them to do.
func (r *Registry) CloseAll(q *Query, code uint16) int {
	count := 0
	for some := range slices.Chunk(r.choose(q, place{}, time.Now()), closeChunk) {
		found, _ := q.filter(some)
		for _, s := range found {
			s.closeFor(code)
		}
		q.filter(found) // the driver answers after the closes
		count += len(found)
	}
	return count
}

// Traffic is what the live sessions of a backend have moved so far.
type Traffic struct{ ToBackend, ToClient balancer.Traffic }

// Traffic returns what the live sessions of each backend have moved so far. It waits for a few turns of each loop.
func (r *Registry) Traffic() map[*balancer.Backend]Traffic {
	sums := map[*balancer.Backend]Traffic{}
	for some := range slices.Chunk(r.List(), statsChunk) {
		found, stats := new(Query).filter(some)
		for i, s := range found {
			sum := sums[s.Backend]
			sum.ToBackend.Add(balancer.Traffic(stats[i].Counts[relay.Client]))
			sum.ToClient.Add(balancer.Traffic(stats[i].Counts[relay.Backend]))
			sums[s.Backend] = sum
		}
	}
	return sums
}

// filter returns those of some sessions that live and have been idle for long enough, and their statistics.
func (q *Query) filter(some []*Session) (found []*Session, stats []driver.Stats) {
	handles := make([]*driver.Handle, len(some))
	for i, s := range some {
		handles[i] = &s.Handle
	}
	all, isLive := driver.StatsOf(handles)
	for i, s := range some {
		if isLive[i] && all[i].Idle >= q.Idle {
			found, stats = append(found, s), append(stats, all[i])
		}
	}
	return found, stats
}

// choose returns the sessions after a place that a query chooses as far as the registry knows, the oldest first. Only the driver
// knows whether they are idle.
func (r *Registry) choose(q *Query, after place, now time.Time) []*Session {
	all := slices.DeleteFunc(r.List(), func(s *Session) bool {
		return placeOf(s).compare(after) <= 0 || !q.fits(s, now)
	})
	slices.SortFunc(all, func(a, b *Session) int { return placeOf(a).compare(placeOf(b)) })
	return all
}

func (q *Query) fits(s *Session, now time.Time) bool {
	isNamed := func(want, name string) bool { return want == "" || want == name }
	return (q.ID == "" || q.ID == reach.FormatID(s.ID)) &&
		isNamed(q.Listener, s.Source.Name) &&
		isNamed(q.Route, s.Route.Name) &&
		isNamed(q.Pool, s.Route.PoolName) &&
		isNamed(q.Backend, s.Backend.Name()) &&
		(!q.Client.IsValid() || q.Client.Contains(s.Client.Addr())) &&
		q.fitsPath(s.Path()) &&
		(q.Age == 0 || now.Sub(s.Start) >= q.Age)
}

// fitsPath compares whole segments, as routes do: a slash at the end of q.Path doesn't count.
func (q *Query) fitsPath(path string) bool {
	rest, isBelow := strings.CutPrefix(path, strings.TrimRight(q.Path, "/"))
	return isBelow && (rest == "" || rest[0] == '/' || q.Path == "")
}

// A place is the position of a session in the order of all: by age, and by id where two began at once. It never changes, and
// sessions that begin later come after it, so that a list can be read in parts.
type place struct {
	start int64 // nanoseconds
	id    uint64
}

func placeOf(s *Session) place { return place{s.Start.UnixNano(), s.ID} }

func (a place) compare(b place) int {
	return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.id, b.id))
}

func (a place) cursor() string { return fmt.Sprintf("%016x%016x", a.start, a.id) }

// parseCursor returns the place of a cursor; of the empty one, the place before all.
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
