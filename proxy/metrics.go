package proxy

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sluice/proxy/driver"
	"sluice/proxy/plain"
	"sluice/proxy/relay"
	"sluice/proxy/route"
	"sluice/proxy/session"
)

// metrics has the proxy's metrics. It counts handshakes and sessions as they begin and end. The drivers count frames, each loop its own,
// and metrics gathers them when it is scraped. It is a prometheus.Collector.
type metrics struct {
	proxy *Proxy

	active     activeSessions
	total      *prometheus.CounterVec // route, pool, result
	moved      *prometheus.CounterVec // direction
	rejected   *prometheus.CounterVec // route, reason
	requests   *prometheus.CounterVec // route, pool, code
	unreadable *prometheus.CounterVec // listener
	duration   prometheus.Histogram   // of sessions
	handshake  prometheus.Histogram   // accept to the 101 or the refusal
	own        []prometheus.Collector // all of the above
	gathered   map[string]*prometheus.Desc
}

// The results of a handshake.
const (
	resultEstablished = "established"
	resultRefused     = "refused" // by the gateway, or by a backend that answered with another status than 101
	resultFailed      = "failed"  // the client was lost, or no backend answered
)

// The directions of sessions that move between processes.
const (
	movedIn  = "in"
	movedOut = "out"
)

func newMetrics(p *Proxy) *metrics {
	m := &metrics{
		proxy: p,
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_sessions_total", Help: "Handshakes by their result.",
		}, []string{"route", "pool", "result"}),
		moved: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_sessions_handed_over_total", Help: "Live sessions that came from another process of the gateway, or went to one, in an upgrade.",
		}, []string{"direction"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_handshakes_rejected_total", Help: "Handshakes that did not become sessions, by reason.",
		}, []string{"route", "reason"}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_http_requests_total", Help: "Plain HTTP requests by the status of their answer.",
		}, []string{"route", "pool", "code"}),
		unreadable: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_forwarded_for_unreadable_total", Help: "Requests of trusted proxies whose X-Forwarded-For has something else than an address where the client's should be.",
		}, []string{"listener"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sluice_session_seconds", Help: "How long sessions lasted.",
			Buckets: []float64{.1, 1, 10, 60, 300, 1800, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 7 * 24 * 3600},
		}),
		handshake: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sluice_handshake_seconds", Help: "From accept to the answer, for handshakes that became sessions.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		gathered: map[string]*prometheus.Desc{},
	}
	for _, direction := range []string{movedIn, movedOut} {
		m.moved.WithLabelValues(direction)
	}
	m.own = []prometheus.Collector{m.total, m.moved, m.rejected, m.requests, m.unreadable, m.duration, m.handshake}
	for _, d := range []struct {
		name, help string
		labels     []string
	}{
		{"sluice_sessions_active", "Live sessions.", []string{"listener", "route", "pool"}},
		{"sluice_http2_streams_active", "Open streams of clients' HTTP/2 connections.", []string{"listener"}},
		{"sluice_http2_connections_active", "Open HTTP/2 connections, by whose they are.", []string{"side"}},
		{"sluice_frames_total", "Frames that arrived, control frames included.", []string{"direction", "opcode"}},
		{"sluice_payload_bytes_total", "Payload of data frames that arrived.", []string{"direction"}},
		{"sluice_closes_total", "Ended sessions by who ended them, why, and the close code that was sent for it; code 1005 means a close without a code.", []string{"initiator", "reason", "code"}},
		{"sluice_protocol_errors_total", "Broken rules of the protocol.", []string{"side", "rule"}},
		{"sluice_ping_rtt_seconds", "Round-trip times of the gateway's pings.", []string{"side"}},
		{"sluice_loop_turn_seconds", "Duration of the turns of event loops: the other sessions of a loop wait for this time.", nil},
		{"sluice_queued_bytes", "Bytes that wait for a side that reads slowly.", nil},
		{"sluice_backend_up", "1 if new sessions may go to the backend, otherwise 0.", []string{"pool", "backend"}},
		{"sluice_backend_state", "1, for the state that the backend is in.", []string{"pool", "backend", "state"}},
		{"sluice_backend_sessions", "Live sessions and handshakes of a backend.", []string{"pool", "backend"}},
		{"sluice_backend_failures_total", "Failures of a backend by reason.", []string{"pool", "backend", "reason"}},
	} {
		m.gathered[d.name] = prometheus.NewDesc(d.name, d.help, d.labels, nil)
	}
	return m
}

// initialize creates the series of a generation, at 0: a rate misses the first event of a counter that begins with it, and a sum over
// gateways can't distinguish a gateway without sessions from one that doesn't answer.
func (m *metrics) initialize(next *generation) {
	for _, l := range next.listeners {
		m.unreadable.WithLabelValues(l.name)
	}
	var served []activeKey
	for _, first := range next.routes {
		for _, r := range first.Variants() {
			for _, result := range []string{resultEstablished, resultRefused, resultFailed} {
				m.total.WithLabelValues(r.Name, r.PoolName, result)
			}
			for _, l := range next.listeners {
				if r.Listener == "" || r.Listener == l.name {
					served = append(served, activeKey{l.name, r.Name, r.PoolName})
				}
			}
		}
	}
	m.active.serve(served)
}

// established counts the start of a session.
func (m *metrics) established(s *session.Session, took time.Duration) {
	m.active.add(activeKey{s.Source.Name, s.Route.Name, s.Route.PoolName}, 1)
	m.total.WithLabelValues(s.Route.Name, s.Route.PoolName, resultEstablished).Inc()
	m.handshake.Observe(took.Seconds())
}

// enter counts a session that another process has handed over. It isn't one that this process has established.
func (m *metrics) enter(s *session.Session) {
	m.active.add(activeKey{s.Source.Name, s.Route.Name, s.Route.PoolName}, 1)
	m.moved.WithLabelValues(movedIn).Inc()
}

// leave counts a session that another process has taken over. It hasn't ended.
func (m *metrics) leave(s *session.Session) {
	m.active.add(activeKey{s.Source.Name, s.Route.Name, s.Route.PoolName}, -1)
	m.moved.WithLabelValues(movedOut).Inc()
}

// ended counts the end of a session.
func (m *metrics) ended(s *session.Session) {
	m.active.add(activeKey{s.Source.Name, s.Route.Name, s.Route.PoolName}, -1)
	m.duration.Observe(time.Since(s.Start).Seconds())
}

// refused counts a handshake that made no session. status is the status that the client got, or 0. r is nil if no route was found yet.
func (m *metrics) refused(r *route.Route, reason string, status int) {
	routeName, pool := "", ""
	if r != nil {
		routeName, pool = r.Name, r.PoolName
	}
	result := resultRefused
	if status == 0 || status == 502 || status == 504 {
		result = resultFailed
	}
	m.total.WithLabelValues(routeName, pool, result).Inc()
	m.rejected.WithLabelValues(routeName, reason).Inc()
}

// plain counts a plain request.
func (m *metrics) plain(r *plain.Request) {
	m.requests.WithLabelValues(r.Route.Name, r.Route.PoolName, strconv.Itoa(r.Status)).Inc()
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.own {
		c.Describe(ch)
	}
	for _, d := range m.gathered {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	defer m.proxy.panics.Catch(room, nil) // the registry calls Collect on a goroutine that recovers no panic
	for _, c := range m.own {
		c.Collect(ch)
	}
	for key, n := range m.active.counts() {
		m.gauge(ch, "sluice_sessions_active", float64(n), key.listener, key.route, key.pool)
	}
	m.collectHTTP2(ch)
	m.collectDriver(ch)
	m.collectPools(ch)
	for _, c := range m.proxy.sessions.CloseCounts() {
		code := "other"
		if c.Code != session.RareCode {
			code = strconv.Itoa(int(c.Code))
		}
		m.counter(ch, "sluice_closes_total", c.Count, c.Initiator, c.Label, code)
	}
}

// directions are the labels of the directions, by the side that sends.
var directions = [2]string{relay.Client: "to_backend", relay.Backend: "to_client"}

// opcodes are the labels of RFC 6455 section 5.2's opcodes.
var opcodes = map[int]string{0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}

func (m *metrics) collectHTTP2(ch chan<- prometheus.Metric) {
	streams := m.proxy.streamCounts()
	for _, l := range *m.proxy.listeners.Load() {
		if l.muxConfig != nil {
			streams[l.name] += 0 // a series from the start
		}
	}
	for name, n := range streams {
		m.gauge(ch, "sluice_http2_streams_active", float64(n), name)
	}
	for side := relay.Client; side <= relay.Backend; side++ {
		m.gauge(ch, "sluice_http2_connections_active", float64(m.proxy.muxes[side].Load()), side.String())
	}
}

func (m *metrics) collectDriver(ch chan<- prometheus.Metric) {
	t := m.proxy.driver.Totals()
	for side := relay.Client; side <= relay.Backend; side++ {
		for opcode, label := range opcodes {
			m.counter(ch, "sluice_frames_total", t.Frames[side][opcode], directions[side], label)
		}
		m.counter(ch, "sluice_payload_bytes_total", t.Bytes[side], directions[side])
		for rule := relay.Rule(1); rule < relay.NumRules; rule++ {
			m.counter(ch, "sluice_protocol_errors_total", t.Rules[side][rule], side.String(), rule.String())
		}
		h := &t.RTT[side]
		m.histogram(ch, "sluice_ping_rtt_seconds", relay.Bounds[:], h.Buckets[:], h.Sum, side.String())
	}
	turns := m.proxy.driver.Turns()
	m.histogram(ch, "sluice_loop_turn_seconds", driver.TurnBounds[:], turns.Buckets[:], turns.Sum)
	m.gauge(ch, "sluice_queued_bytes", float64(m.proxy.driver.QueuedBytes()))
}

func (m *metrics) collectPools(ch chan<- prometheus.Metric) {
	for name, pool := range *m.proxy.pools.Load() {
		for _, b := range pool.Status() {
			up := 0.0
			if b.State.IsAvailable() {
				up = 1
			}
			m.gauge(ch, "sluice_backend_up", up, name, b.Name)
			m.gauge(ch, "sluice_backend_state", 1, name, b.Name, b.State.String())
			m.gauge(ch, "sluice_backend_sessions", float64(b.Sessions), name, b.Name)
			for reason, n := range b.Failures {
				m.counter(ch, "sluice_backend_failures_total", n, name, b.Name, reason)
			}
		}
	}
}

func (m *metrics) counter(ch chan<- prometheus.Metric, name string, n uint64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(m.gathered[name], prometheus.CounterValue, float64(n), labels...)
}

func (m *metrics) gauge(ch chan<- prometheus.Metric, name string, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(m.gathered[name], prometheus.GaugeValue, v, labels...)
}

// histogram reports durations that were counted elsewhere. counts has one element more than bounds, for durations over all bounds.
func (m *metrics) histogram(ch chan<- prometheus.Metric, name string, bounds []time.Duration, counts []uint64, sum time.Duration, labels ...string) {
	buckets, count := make(map[float64]uint64, len(bounds)), uint64(0)
	for i, bound := range bounds {
		count += counts[i]
		buckets[bound.Seconds()] = count
	}
	count += counts[len(bounds)]
	ch <- prometheus.MustNewConstHistogram(m.gathered[name], count, sum.Seconds(), buckets, labels...)
}
