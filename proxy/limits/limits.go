// Package limits counts the places that clients occupy in the gateway, and reports why a client gets none. It knows neither the gateway nor
// the answer to a refused client.
//
//	limits.go  places: what is counted, the bounds, the shares of addresses
//	rate.go    handshakes a second
//	total.go   what all listeners have together
package limits

import (
	"math"
	"sync"
	"time"

	"sluice/internal/share"
)

// A Kind is what a place is for. Each kind is counted by itself.
type Kind uint8

const (
	Connections Kind = iota // of clients, from accept to their end, sessions included
	Handshakes              // under way: from accept to the answer
	Requests                // plain requests under way
	Sessions                // live ones, and handshakes that may become sessions
	NumKinds
)

// weights are those of package share: how much of a kind one address may have. Many clients may be behind one address, so it may have all
// but a seventeenth of what lasts. A handshake and a request need more memory than the rest, so of these it may have a half.
var weights = [NumKinds]int64{Connections: 16, Handshakes: 1, Requests: 1, Sessions: 16}

// A Refusal is why a client gets no place.
type Refusal uint8

const (
	Granted   Refusal = iota // it gets one
	Full                     // no place is left
	Share                    // its address has its share
	PerClient                // its address has as many sessions as one may have
	NumRefusals
)

// Limits are the bounds of one listener. 0 means no limit.
type Limits struct {
	Places    [NumKinds]int64
	PerClient int64 // sessions of one address
	Rate      int   // requests of one address a second
	Burst     int   // at once; 0 means as many as Rate
}

// Places are the places of a listener, of which each client address has a share. Its methods may be called from any goroutine.
type Places struct {
	*counts
	limits Limits // immutable
}

// counts is what is occupied.
type counts struct {
	totals *Totals
	start  time.Time // instants count from it

	mu sync.Mutex

	// Guarded by mu.
	held    [NumKinds]int64
	refused [NumKinds][NumRefusals]uint64
	known   map[share.Key]client // with places, or with a rate that still counts
	sweepAt int                  // the number of known clients at which a sweep is due
}

// A client is an address. It holds no pointer, so that the garbage collector doesn't follow a table of millions.
type client struct {
	held [NumKinds]int32
	paid time.Duration // until when its requests have used up its rate
}

// minSweep is the number of known clients below which none is forgotten.
const minSweep = 1024

// NewPlaces returns places of which none is occupied. Total is what all listeners have together.
func NewPlaces(total *Totals, l Limits) *Places {
	p := &Places{counts: &counts{totals: total, start: time.Now(), known: map[share.Key]client{}, sweepAt: minSweep}}
	return p.With(l)
}

// With returns the same places under other limits: what is occupied counts for both.
func (p *Places) With(l Limits) *Places {
	if l.Burst == 0 {
		l.Burst = l.Rate
	}
	l.Burst = min(l.Burst, math.MaxInt32) // of requests that may be a second apart
	return &Places{counts: p.counts, limits: l}
}

// Acquire acquires a place for an address, which Release releases, or returns why there is none.
func (p *Places) Acquire(k Kind, of share.Key) Refusal {
	p.mu.Lock()
	defer p.mu.Unlock()
	why := p.judge(k, of, p.free(k))
	if why == Granted && !p.totals[k].acquire() {
		why = Full
	}
	if why != Granted {
		p.refused[k][why]++
		return why
	}
	p.add(k, of)
	return Granted
}

// Occupy acquires a place for an address, which Release releases, whatever the limits are: for what has had one in another process.
func (p *counts) Occupy(k Kind, of share.Key) {
	p.totals[k].held.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.add(k, of)
}

// judge returns whether an address may have another place, of as many as are free.
func (p *Places) judge(k Kind, of share.Key, free int64) Refusal {
	held := int64(p.known[of].held[k]) // 0 without an address
	switch {
	case free <= 0:
		return Full
	case k == Sessions && p.limits.PerClient > 0 && held >= p.limits.PerClient:
		return PerClient
	case !share.Allows(held, free, weights[k]):
		return Share
	default:
		return Granted
	}
}

// Release releases a place that Acquire has acquired.
func (p *counts) Release(k Kind, of share.Key) {
	p.totals[k].release()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remove(k, of)
}

// Reassign makes a place that an address holds another one's, as if one had released it and the other acquired it.
func (p *Places) Reassign(k Kind, from, to share.Key) Refusal {
	p.mu.Lock()
	defer p.mu.Unlock()
	if to != from {
		free := p.free(k)
		if free < math.MaxInt64 {
			free++
		}
		if why := p.judge(k, to, free); why != Granted {
			p.refused[k][why]++
			return why
		}
	}
	p.move(k, from, to)
	return Granted
}

// Move is Reassign whatever the other one's share is.
func (p *counts) Move(k Kind, from, to share.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.move(k, from, to)
}

func (p *counts) move(k Kind, from, to share.Key) {
	if from != to {
		p.remove(k, from)
		p.add(k, to)
	}
}

func (p *counts) add(k Kind, of share.Key) {
	p.held[k]++
	if of == (share.Key{}) {
		return
	}
	c, isKnown := p.known[of]
	if !isKnown {
		p.sweepIfDue()
	}
	c.held[k]++
	p.known[of] = c
}

func (p *counts) remove(k Kind, of share.Key) {
	p.held[k]--
	if of == (share.Key{}) {
		return
	}
	c := p.known[of]
	c.held[k]--
	if c.held == [NumKinds]int32{} && c.paid == 0 {
		delete(p.known, of)
	} else {
		p.known[of] = c
	}
}

// free returns how many places of a kind are left to the listener.
func (p *Places) free(k Kind) int64 {
	free := p.totals[k].Free()
	if limit := p.limits.Places[k]; limit > 0 {
		free = min(free, limit-p.held[k])
	}
	return free
}

// Short returns how many places of a kind would have to be released for an eighth of them to be free, and one at least. It is not
// positive as long as they are free.
func (p *Places) Short(k Kind) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	short := p.totals[k].Short()
	if limit := p.limits.Places[k]; limit > 0 {
		short = max(short, wanted(limit)-(limit-p.held[k]))
	}
	return short
}

// Refused returns how often no place of a kind was given, by the reason.
func (p *counts) Refused(k Kind) [NumRefusals]uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refused[k]
}

// Held returns how many places of a kind are occupied, and the limit; 0 means that there is none.
func (p *Places) Held(k Kind) (n, limit int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held[k], p.limits.Places[k]
}

// Known returns how many addresses are known.
func (p *counts) Known() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.known)
}

// sweepIfDue forgets the addresses that hold nothing and whose rate is whole again. It does so when their number has doubled, which costs O(1)
// per address.
func (p *counts) sweepIfDue() {
	if len(p.known) < p.sweepAt {
		return
	}
	now := time.Since(p.start)
	for key, c := range p.known {
		if c.held == [NumKinds]int32{} && c.paid <= now {
			delete(p.known, key)
		}
	}
	p.sweepAt = max(2*len(p.known), minSweep)
}
