package driver

import "sluice/proxy/relay"

// deadlines are a loop's timers: a binary heap with one entry for each session or task, the earliest first. Traffic doesn't change it: an
// entry moves only when it is due, or when a nearer deadline arises. Owned by the loop goroutine.
type deadlines struct {
	entries []deadline
	slots   *slots // each keeps its index in entries
}

type deadline struct {
	at    relay.Instant
	index uint32 // of the slot
}

// grain is the unit to which deadlines are rounded up, so that one wake-up handles many.
const grain = 4 << 20 // nanoseconds

func roundUp(at relay.Instant) relay.Instant { return (at + grain - 1) &^ (grain - 1) }

// next returns the first deadline, or 0 if there is none.
func (d *deadlines) next() relay.Instant {
	if len(d.entries) == 0 {
		return 0
	}
	return d.entries[0].at
}

// add adds a slot.
func (d *deadlines) add(s slot, at relay.Instant) {
	d.entries = append(d.entries, deadline{roundUp(at), s.index})
	d.up(len(d.entries) - 1)
}

// set changes the deadline of a slot.
func (d *deadlines) set(s slot, at relay.Instant) {
	i, at := int(s.timer), roundUp(at)
	before := d.entries[i].at
	d.entries[i].at = at
	if at < before {
		d.up(i)
	} else {
		d.down(i)
	}
}

// remove removes a slot.
func (d *deadlines) remove(s slot) {
	i, last := int(s.timer), len(d.entries)-1
	d.entries[i] = d.entries[last]
	d.entries = d.entries[:last]
	if i < last {
		d.up(i)
		d.down(i)
	}
}

func (d *deadlines) up(i int) {
	e := d.entries[i]
	for i > 0 {
		parent := (i - 1) / 2
		if d.entries[parent].at <= e.at {
			break
		}
		d.put(i, d.entries[parent])
		i = parent
	}
	d.put(i, e)
}

func (d *deadlines) down(i int) {
	e := d.entries[i]
	for {
		child := 2*i + 1
		if child >= len(d.entries) {
			break
		}
		if child+1 < len(d.entries) && d.entries[child+1].at < d.entries[child].at {
			child++
		}
		if e.at <= d.entries[child].at {
			break
		}
		d.put(i, d.entries[child])
		i = child
	}
	d.put(i, e)
}

func (d *deadlines) put(i int, e deadline) {
	d.entries[i] = e
	d.slots.at(e.index).timer = int32(i)
}
