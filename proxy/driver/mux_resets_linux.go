package driver

import (
	"time"

	"sluice/proxy/h2"
	"sluice/proxy/relay"
)

// muxResets is how many streams of a backend's connection are reset in a second. Servers take more for an attack (CVE-2023-44487) and end the
// connection: clients that give up would end the sessions of others.
const muxResets = 30

// resets are those of the streams of a backend's connection.
type resets struct {
	since relay.Instant // since when they are counted; 0: none was sent
	count int
	late  []lateReset
}

// A lateReset is a stream without an owner that is to be reset.
type lateReset struct {
	of   *h2.Stream
	code h2.Code
}

// reset resets a stream, which is to have no owner any more. On a backend's connection that had too many, it is ended instead, after its answer, which
// most backends answer by their own end, and reset later if that doesn't come. Before the answer an end would count as a reset.
func (m *Mux) reset(of *h2.Stream, code h2.Code) {
	if m.params.Config.Role == h2.Server || m.mayReset() {
		m.append(m.h2.AppendReset(m.scratch(), of, code))
		return
	}
	m.resets.late = append(m.resets.late, lateReset{of, code})
	m.endOwnerless(of)
}

// endOwnerless ends a stream that nobody has any more, unless the backend's answer is to come.
func (m *Mux) endOwnerless(of *h2.Stream) {
	if m.params.Config.Role == h2.Client && m.ending == 0 && m.h2.CanSend(of) && m.h2.IsAnswered(of) {
		m.append(m.h2.AppendData(m.scratch(), of, 0, true))
	}
}

// mayReset counts a reset, unless there were too many in this second.
func (m *Mux) mayReset() bool {
	r, now := &m.resets, m.loop.env.Now
	if r.since == 0 || now >= r.since.Add(time.Second) {
		r.since, r.count = now, 0
	}
	if r.count == muxResets {
		return false
	}
	r.count++
	return true
}

// sendResets resets the streams for which it is late, as far as that is possible now.
func (m *Mux) sendResets() {
	late := m.resets.late
	m.resets.late = nil
	for _, r := range late {
		if m.h2.CanSend(r.of) || !m.h2.HasEnded(r.of) {
			m.reset(r.of, r.code)
		}
	}
}
