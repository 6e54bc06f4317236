package gateway

import (
	"context"
	ctls "crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-multierror"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"sluice/internal/config"
	"sluice/internal/filewatch"
	"sluice/internal/recovery"
	"sluice/proxy"
	"sluice/tls"
)

// A security is all TLS of a gateway: that of its listeners and that of connections to its backends. It is a prometheus.Collector.
// openSecurity, start, prepare, adopt and close are for one goroutine at a time.
type security struct {
	files      *filewatch.Watcher
	log        *zap.Logger
	panics     recovery.Handler
	handshakes *prometheus.CounterVec // version, result
	reloads    *prometheus.CounterVec // result
	expiry     *prometheus.Desc       // name

	inUse     atomic.Pointer[generation]
	isStarted bool
}

// A generation is the TLS of one configuration. Immutable.
type generation struct {
	servers map[string]*runner[*tls.Server] // by listener
	clients map[string]*runner[*tls.Client] // by pool
}

// A runner runs a tls.Server or a tls.Client. Generations share it: a reload keeps it if its section stays.
type runner[T interface{ Run(context.Context) }] struct {
	of     T
	madeOf []any              // what it was made of: a change of any of it makes another runner
	cancel context.CancelFunc // nil: it doesn't run
	ended  chan struct{}

	panics recovery.Handler
}

// openSecurity reads the certificates and keys that a configuration names, and watches them with files. close must be called after it.
func openSecurity(file *config.File, files *filewatch.Watcher, log *zap.Logger, panics recovery.Handler) (*security, error) {
	s := &security{
		files:  files,
		log:    log.Named("tls"),
		panics: panics,
		handshakes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_tls_handshakes_total", Help: "TLS handshakes with clients by version and result.",
		}, []string{"version", "result"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_certificate_reloads_total", Help: "Changed files of certificates and keys, and ACME orders, by result.",
		}, []string{"result"}),
		expiry: prometheus.NewDesc("sluice_certificate_expiry_seconds",
			"When the certificate ends, in seconds since 1970; of several with one name the earliest.", []string{"name"}, nil),
	}
	for _, result := range []string{tls.ReloadApplied, tls.ReloadRefused} {
		s.reloads.WithLabelValues(result)
	}
	s.inUse.Store(new(generation))
	first, err := s.prepare(file)
	if err != nil {
		return nil, err
	}
	s.inUse.Store(first)
	return s, nil
}

// prepare makes the generation of a configuration, with the runners in use whose sections stay as they are. adopt or abandon must be
// called after it. On an error nothing is left of it.
func (s *security) prepare(file *config.File) (*generation, error) {
	n := &generation{servers: map[string]*runner[*tls.Server]{}, clients: map[string]*runner[*tls.Client]{}}
	isReady := false
	defer func() {
		if !isReady { // there are problems, or it panicked
			s.abandon(n)
		}
	}()
	var problems *multierror.Error
	for i := range file.Listener {
		if l := &file.Listener[i]; l.TLS != nil {
			problems = multierror.Append(problems, s.addServer(n, l, plainAddress(file)))
		}
	}
	for i := range file.Pool {
		if p := &file.Pool[i]; hasTLS(p) {
			problems = multierror.Append(problems, s.addClient(n, p))
		}
	}
	if err := problems.ErrorOrNil(); err != nil {
		return nil, err
	}
	isReady = true
	return n, nil
}

func (s *security) addServer(n *generation, l *config.Listener, httpAddress string) error {
	address := l.Address
	if strings.HasPrefix(address, "unix:") {
		address = ""
	}
	madeOf := []any{*l.TLS, address, l.SpeaksHTTP2()}
	if l.TLS.ACME != nil {
		madeOf = append(madeOf, httpAddress)
	}
	if before := s.inUse.Load().servers[l.Name]; before.isOf(madeOf) {
		n.servers[l.Name] = before
		return nil
	}
	server, err := tls.New(l.TLS, tls.Options{
		Log:         s.log.With(zap.String("listener", l.Name)),
		Panics:      s.panics,
		HTTP2:       l.SpeaksHTTP2(),
		Address:     address,
		HTTPAddress: httpAddress,
		Handshaken:  func(version, result string) { s.handshakes.WithLabelValues(version, result).Inc() },
		Reloaded:    s.reloaded,
		Files:       s.files,
	})
	if err != nil {
		return fmt.Errorf("listener %s: tls: %w", l.Name, err)
	}
	n.servers[l.Name] = &runner[*tls.Server]{of: server, madeOf: madeOf, panics: s.panics}
	return nil
}

func (s *security) addClient(n *generation, p *config.Pool) error {
	madeOf := []any{p.TLS, p.Protocol}
	if before := s.inUse.Load().clients[p.Name]; before.isOf(madeOf) {
		n.clients[p.Name] = before
		return nil
	}
	client, err := tls.NewClient(&p.TLS, tls.Options{
		Log:       s.log.With(zap.String("pool", p.Name)),
		Panics:    s.panics,
		Protocols: []string{p.Protocol},
		Reloaded:  s.reloaded,
		Files:     s.files,
	})
	if err != nil {
		return fmt.Errorf("pool %s: tls: %w", p.Name, err)
	}
	n.clients[p.Name] = &runner[*tls.Client]{of: client, madeOf: madeOf, panics: s.panics}
	return nil
}

// isOf reports whether there is a runner, and it is made of the same.
func (r *runner[T]) isOf(madeOf []any) bool { return r != nil && reflect.DeepEqual(r.madeOf, madeOf) }

func (s *security) reloaded(result string) { s.reloads.WithLabelValues(result).Inc() }

// plainAddress returns the address of the listener that answers ACME's http-01, or "" if there is none. It is the listener without TLS on
// port 80, to which an authority connects, or else the first one without TLS: port 80 may be forwarded to it.
func plainAddress(file *config.File) string {
	found := ""
	for i := range file.Listener {
		l := &file.Listener[i]
		_, port, err := net.SplitHostPort(l.Address)
		if l.TLS == nil && err == nil && (found == "" || port == "80") {
			found = l.Address
		}
	}
	return found
}

// hasTLS reports whether a pool has backends that speak TLS.
func hasTLS(p *config.Pool) bool {
	for _, b := range p.Backend {
		if strings.HasPrefix(b.Address, "wss://") {
			return true
		}
	}
	return false
}

// secure sets the TLS of the listeners and pools.
func (n *generation) secure(c *proxy.Sections) {
	for i := range c.Listeners {
		if server := n.servers[c.Listeners[i].Name]; server != nil {
			c.Listeners[i].TLS = secured{server.of}
		}
	}
	for i := range c.Pools {
		if client := n.clients[c.Pools[i].Name]; client != nil {
			c.Pools[i].TLS, c.Pools[i].TLSOf = client.of.Config, client.of
		}
	}
}

// ticketStates returns what another process needs of the ticket keys in use, by listener.
func (s *security) ticketStates() map[string]tls.TicketState {
	states := map[string]tls.TicketState{}
	for name, server := range s.inUse.Load().servers {
		if state := server.of.TicketState(); len(state.Keys) > 0 {
			states[name] = state
		}
	}
	return states
}

// restoreTickets goes on with the ticket keys of another process. It is called before start. A listener whose keys can't be used keeps its
// own: clients then make whole handshakes.
func (s *security) restoreTickets(states map[string]tls.TicketState) {
	for name, server := range s.inUse.Load().servers {
		state := states[name]
		if err := server.of.RestoreTickets(&state); err != nil {
			s.log.Warn("ticket keys of the process before can't be used", zap.String("listener", name), zap.Error(err))
		}
	}
}

// challenge is proxy.Config.Challenge.
func (s *security) challenge(ctx context.Context, host, path string) (body string, isOurs bool) {
	for _, server := range s.inUse.Load().servers {
		if body, isOurs = server.of.HTTPChallenge(ctx, host, path); isOurs {
			return body, true
		}
	}
	return "", false
}

// start watches files, rotates keys and renews certificates until close. The listeners must accept by then: an ACME authority asks them.
func (s *security) start() {
	s.isStarted = true
	s.inUse.Load().start()
}

// adopt puts a generation that prepare has made into use, and ends the runners that only the one before has.
func (s *security) adopt(n *generation) {
	before := s.inUse.Swap(n)
	if s.isStarted {
		n.start()
	}
	before.endBut(n)
}

// abandon ends a generation that prepare has made and that is not used.
func (s *security) abandon(n *generation) { n.endBut(s.inUse.Load()) }

// close ends all runners and waits for them.
func (s *security) close() { s.inUse.Load().endBut(new(generation)) }

// start runs all runners that don't run yet.
func (n *generation) start() {
	for _, server := range n.servers {
		server.start()
	}
	for _, client := range n.clients {
		client.start()
	}
}

// endBut ends the runners that are not in the generation kept.
func (n *generation) endBut(kept *generation) {
	for name, server := range n.servers {
		if kept.servers[name] != server {
			server.end()
		}
	}
	for name, client := range n.clients {
		if kept.clients[name] != client {
			client.end()
		}
	}
}

func (r *runner[T]) start() {
	if r.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.ended = cancel, make(chan struct{})
	go r.run(ctx)
}

// run runs until end.
func (r *runner[T]) run(ctx context.Context) {
	defer close(r.ended)
	defer r.panics.Catch(room, nil)
	r.of.Run(ctx)
}

// end waits until nothing of the runner runs.
func (r *runner[T]) end() {
	r.start() // Run ends what was begun before it
	r.cancel()
	<-r.ended
}

// Describe implements prometheus.Collector.
func (s *security) Describe(ch chan<- *prometheus.Desc) {
	s.handshakes.Describe(ch)
	s.reloads.Describe(ch)
	ch <- s.expiry
}

// Collect implements prometheus.Collector.
func (s *security) Collect(ch chan<- prometheus.Metric) {
	defer s.panics.Catch(room, nil) // the registry's goroutine recovers no panic
	s.handshakes.Collect(ch)
	s.reloads.Collect(ch)
	ends := map[string]time.Time{}
	for _, server := range s.inUse.Load().servers {
		for name, end := range server.of.Expiry() {
			if before, found := ends[name]; !found || end.Before(before) {
				ends[name] = end
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(ends)) {
		ch <- prometheus.MustNewConstMetric(s.expiry, prometheus.GaugeValue, float64(ends[name].Unix()), name)
	}
}

// secured is a tls.Server as package proxy uses it: proxy doesn't import tls.
type secured struct{ server *tls.Server }

// Handshake implements proxy.TLSServer.
func (s secured) Handshake(ctx context.Context, conn net.Conn) (secure *ctls.Conn, subject string, err error) {
	secure, err = s.server.Handshake(ctx, conn)
	if errors.Is(err, tls.ErrPlainHTTP) {
		return nil, "", fmt.Errorf("%w: %w", proxy.ErrPlainHTTP, err)
	}
	if err != nil {
		return nil, "", err
	}
	return secure, tls.ClientSubject(secure), nil
}
