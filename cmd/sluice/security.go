package main

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

// A security is all TLS of a gateway: that of its listeners, and that towards its backends. It is a
// prometheus.Collector. openSecurity, start, prepare, adopt and close are for one goroutine at a time.
type security struct {
	files      *filewatch.Watcher
	log        *zap.Logger
	panics     recovery.Handler
	handshakes *prometheus.CounterVec // version, result
	reloads    *prometheus.CounterVec // result
	expiry     *prometheus.Desc       // name

	inUse     atomic.Pointer[suite]
	isStarted bool
}

// A suite is the TLS of one configuration. Immutable.
type suite struct {
	servers map[string]*part[*tls.Server] // by listener
	clients map[string]*part[*tls.Client] // by pool
}

// A part runs by itself, so that a reload keeps it where its section stays.
type part[T interface{ Run(context.Context) }] struct {
	what   T
	madeOf []any              // whatever a change of which makes another one of it
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
			Name: "sluice_tls_handshakes_total", Help: "TLS handshakes with clients by version and what became of them.",
		}, []string{"version", "result"}),
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_certificate_reloads_total", Help: "Changed files of certificates and keys, and ACME orders, by what became of them.",
		}, []string{"result"}),
		expiry: prometheus.NewDesc("sluice_certificate_expiry_seconds",
			"When the certificate ends, in seconds since 1970; of several with one name the earliest.", []string{"name"}, nil),
	}
	for _, result := range []string{tls.ReloadApplied, tls.ReloadRefused} {
		s.reloads.WithLabelValues(result)
	}
	s.inUse.Store(new(suite))
	first, err := s.prepare(file)
	if err != nil {
		return nil, err
	}
	s.inUse.Store(first)
	return s, nil
}

// prepare makes the suite of a configuration, with the parts in use whose sections stay as they are.
// adopt or abandon must be called behind it. On an error nothing is left of it.
func (s *security) prepare(file *config.File) (*suite, error) {
	n := &suite{servers: map[string]*part[*tls.Server]{}, clients: map[string]*part[*tls.Client]{}}
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

func (s *security) addServer(n *suite, l *config.Listener, httpAddress string) error {
	address := l.Address
	if strings.HasPrefix(address, "unix:") {
		address = ""
	}
	madeOf := []any{*l.TLS, address}
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
		Address:     address,
		HTTPAddress: httpAddress,
		Handshaken:  func(version, result string) { s.handshakes.WithLabelValues(version, result).Inc() },
		Reloaded:    s.reloaded,
		Files:       s.files,
	})
	if err != nil {
		return fmt.Errorf("listener %s: tls: %w", l.Name, err)
	}
	n.servers[l.Name] = &part[*tls.Server]{what: server, madeOf: madeOf, panics: s.panics}
	return nil
}

func (s *security) addClient(n *suite, p *config.Pool) error {
	if before := s.inUse.Load().clients[p.Name]; before.isOf([]any{p.TLS}) {
		n.clients[p.Name] = before
		return nil
	}
	client, err := tls.NewClient(&p.TLS, tls.Options{
		Log:      s.log.With(zap.String("pool", p.Name)),
		Panics:   s.panics,
		Reloaded: s.reloaded,
		Files:    s.files,
	})
	if err != nil {
		return fmt.Errorf("pool %s: tls: %w", p.Name, err)
	}
	n.clients[p.Name] = &part[*tls.Client]{what: client, madeOf: []any{p.TLS}, panics: s.panics}
	return nil
}

// isOf tells whether there is a part, and it is made of the same.
func (p *part[T]) isOf(madeOf []any) bool { return p != nil && reflect.DeepEqual(p.madeOf, madeOf) }

func (s *security) reloaded(result string) { s.reloads.WithLabelValues(result).Inc() }

// plainAddress returns where ACME's http-01 can be answered: at the listener without TLS whose port
// is 80, which an authority asks, or else (something may lead there) at the first; "": there is none.
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

// hasTLS tells whether a pool has backends that speak TLS.
func hasTLS(p *config.Pool) bool {
	for _, b := range p.Backend {
		if strings.HasPrefix(b.Address, "wss://") {
			return true
		}
	}
	return false
}

// forProxy returns what a proxy takes of a suite.
func (n *suite) forProxy() (servers map[string]proxy.TLSServer, clients map[string]func(host string) *ctls.Config) {
	servers, clients = map[string]proxy.TLSServer{}, map[string]func(host string) *ctls.Config{}
	for name, server := range n.servers {
		servers[name] = secured{server.what}
	}
	for name, client := range n.clients {
		clients[name] = client.what.Config
	}
	return servers, clients
}

// challenge is proxy.Config.Challenge.
func (s *security) challenge(ctx context.Context, host, path string) (body string, isOurs bool) {
	for _, server := range s.inUse.Load().servers {
		if body, isOurs = server.what.HTTPChallenge(ctx, host, path); isOurs {
			return body, true
		}
	}
	return "", false
}

// start watches files, rotates keys and renews certificates until close. It is for when the
// listeners accept: an authority asks them.
func (s *security) start() {
	s.isStarted = true
	s.inUse.Load().start()
}

// adopt puts a suite that prepare has made into use, and ends what is left of the one before.
func (s *security) adopt(n *suite) {
	before := s.inUse.Swap(n)
	if s.isStarted {
		n.start()
	}
	before.endBut(n)
}

// abandon ends a suite that prepare has made and that isn't used.
func (s *security) abandon(n *suite) { n.endBut(s.inUse.Load()) }

// close ends it all and waits for that.
func (s *security) close() { s.inUse.Load().endBut(new(suite)) }

// start has all parts run that don't run yet.
func (n *suite) start() {
	for _, server := range n.servers {
		server.start()
	}
	for _, client := range n.clients {
		client.start()
	}
}

// endBut ends the parts that another suite hasn't.
func (n *suite) endBut(kept *suite) {
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

func (p *part[T]) start() {
	if p.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel, p.ended = cancel, make(chan struct{})
	go p.run(ctx)
}

// run ends behind end.
func (p *part[T]) run(ctx context.Context) {
	defer close(p.ended)
	defer p.panics.Catch(room, nil)
	p.what.Run(ctx)
}

// end waits until nothing of the part runs.
func (p *part[T]) end() {
	p.start() // Run ends what was begun before it
	p.cancel()
	<-p.ended
}

// Describe implements prometheus.Collector.
func (s *security) Describe(ch chan<- *prometheus.Desc) {
	s.handshakes.Describe(ch)
	s.reloads.Describe(ch)
	ch <- s.expiry
}

// Collect implements prometheus.Collector.
func (s *security) Collect(ch chan<- prometheus.Metric) {
	defer s.panics.Catch(room, nil) // the registry collects on a goroutine that recovers none
	s.handshakes.Collect(ch)
	s.reloads.Collect(ch)
	ends := map[string]time.Time{}
	for _, server := range s.inUse.Load().servers {
		for name, end := range server.what.Expiry() {
			if before, found := ends[name]; !found || end.Before(before) {
				ends[name] = end
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(ends)) {
		ch <- prometheus.MustNewConstMetric(s.expiry, prometheus.GaugeValue, float64(ends[name].Unix()), name)
	}
}

// secured is a tls.Server as package proxy wants it, which must not know that package.
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
