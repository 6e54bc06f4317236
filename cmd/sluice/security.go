package main

import (
	"context"
	ctls "crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-multierror"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"sluice/cmd/sluice/internal/config"
	"sluice/proxy"
	"sluice/tls"
)

// A security is all TLS of a gateway: that of its listeners, and that towards its backends. It is a
// prometheus.Collector. Its maps are immutable after openSecurity.
type security struct {
	servers    map[string]*tls.Server // by listener
	clients    map[string]*tls.Client // by pool
	handshakes *prometheus.CounterVec // version, result
	reloads    *prometheus.CounterVec // result
	expiry     *prometheus.Desc       // name

	running sync.WaitGroup
	cancel  context.CancelFunc // nil: start wasn't called
}

// openSecurity reads the certificates and keys that a configuration names. close must be called
// behind it.
func openSecurity(file *config.File, log *zap.Logger) (*security, error) {
	s := &security{
		servers: map[string]*tls.Server{},
		clients: map[string]*tls.Client{},
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
	log = log.Named("tls")
	var problems *multierror.Error
	for i := range file.Listener {
		if l := &file.Listener[i]; l.TLS != nil {
			problems = multierror.Append(problems, s.addServer(l, plainAddress(file), log))
		}
	}
	for i := range file.Pool {
		if p := &file.Pool[i]; hasTLS(p) {
			problems = multierror.Append(problems, s.addClient(p, log))
		}
	}
	if err := problems.ErrorOrNil(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *security) addServer(l *config.Listener, httpAddress string, log *zap.Logger) error {
	address := l.Address
	if strings.HasPrefix(address, "unix:") {
		address = ""
	}
	server, err := tls.New(l.TLS, tls.Options{
		Log:         log.With(zap.String("listener", l.Name)),
		Address:     address,
		HTTPAddress: httpAddress,
		Handshaken:  func(version, result string) { s.handshakes.WithLabelValues(version, result).Inc() },
		Reloaded:    s.reloaded,
	})
	if err != nil {
		return fmt.Errorf("listener %s: tls: %w", l.Name, err)
	}
	s.servers[l.Name] = server
	return nil
}

func (s *security) addClient(p *config.Pool, log *zap.Logger) error {
	client, err := tls.NewClient(&p.TLS, log.With(zap.String("pool", p.Name)), s.reloaded)
	if err != nil {
		return fmt.Errorf("pool %s: tls: %w", p.Name, err)
	}
	s.clients[p.Name] = client
	return nil
}

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

// configure gives a proxy its part.
func (s *security) configure(c *proxy.Config) {
	c.TLS = map[string]proxy.TLSServer{}
	for name, server := range s.servers {
		c.TLS[name] = secured{server}
	}
	c.BackendTLS = map[string]func(host string) *ctls.Config{}
	for name, client := range s.clients {
		c.BackendTLS[name] = client.Config
	}
	if len(s.servers) > 0 {
		c.Challenge = s.challenge
	}
}

// challenge is proxy.Config.Challenge.
func (s *security) challenge(ctx context.Context, host, path string) (body string, isOurs bool) {
	for _, server := range s.servers {
		if body, isOurs = server.HTTPChallenge(ctx, host, path); isOurs {
			return body, true
		}
	}
	return "", false
}

// start watches files, rotates keys and renews certificates until close. It is for when the
// listeners accept: an authority asks them.
func (s *security) start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.run(ctx)
}

func (s *security) run(ctx context.Context) {
	for _, server := range s.servers {
		s.running.Go(func() { server.Run(ctx) })
	}
	for _, client := range s.clients {
		s.running.Go(func() { client.Run(ctx) })
	}
}

// close ends it all and waits for that.
func (s *security) close() {
	if s.cancel != nil {
		s.cancel()
	} else {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		s.run(ended) // it ends what New has begun
	}
	s.running.Wait()
}

// Describe implements prometheus.Collector.
func (s *security) Describe(ch chan<- *prometheus.Desc) {
	s.handshakes.Describe(ch)
	s.reloads.Describe(ch)
	ch <- s.expiry
}

// Collect implements prometheus.Collector.
func (s *security) Collect(ch chan<- prometheus.Metric) {
	s.handshakes.Collect(ch)
	s.reloads.Collect(ch)
	ends := map[string]time.Time{}
	for _, server := range s.servers {
		for name, end := range server.Expiry() {
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
