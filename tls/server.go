package tls

import (
	"context"
	ctls "crypto/tls"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-multierror"
	"go.uber.org/zap"

	"sluice/internal/filewatch"
	"sluice/internal/recovery"
)

// Options are what a Server or a Client needs besides its section of the configuration. A Client has no addresses and no handshakes.
type Options struct {
	Log *zap.Logger // nil: none

	// Panics is called for each panic within Run, which continues. nil: panics are not recovered.
	Panics recovery.Handler

	// HTTP2 offers HTTP/2 by ALPN.
	HTTP2 bool

	// Address is where the listener is, "host:port"; empty if it isn't a TCP port: then there is no
	// tls-alpn-01.
	Address string
	// HTTPAddress is where a plain listener is that asks HTTPChallenge; empty: there is no http-01.
	HTTPAddress string

	// Protocols are those that a Client offers by ALPN; empty: HTTP/1.1.
	Protocols []string

	// Handshaken is called at the end of each handshake, with labels of VersionLabel and the Result
	// constants. Reloaded is called with a Reload constant each time that a changed file, or an ACME
	// order, was taken or refused. Both are called by several goroutines; nil: not called.
	Handshaken func(version, result string)
	Reloaded   func(result string)

	// Files reports changes of the files that the section names. nil: they are only looked at once per watch_interval.
	Files *filewatch.Watcher
}

func (o *Options) reloaded(result string) {
	if o.Reloaded != nil {
		o.Reloaded(result)
	}
}

// The labels of Options.Reloaded.
const (
	ReloadApplied = "applied"
	ReloadRefused = "refused"
)

// room is the name of this package in calls of Options.Panics.
const room = "tls"

// A Server makes the TLS connections of one listener.
type Server struct {
	log        *zap.Logger
	panics     recovery.Handler
	handshaken func(version, result string)
	slots      chan struct{}               // taken by each handshake that computes
	acme       *acmeManager                // nil: none
	rotate     time.Duration               // of ticket keys; zero: they come from a file
	files      filewatch.Set               // owned by Run
	watcher    *filewatch.Watcher          // nil: none
	table      atomic.Pointer[table]       // replaced whole
	config     atomic.Pointer[ctls.Config] // replaced whole under mu, but for its ticket keys

	mu sync.Mutex

	tickets  []ticketKey // of this process's own; guarded by mu
	rotateAt time.Time   // when the next one is made; guarded by mu
}

// New returns the server of a section that Check has no problem with. It reads the files, and its error has all that is wrong with them.
// Run must be called after it, to end what it begins.
func New(cfg *Config, options Options) (*Server, error) {
	s := &Server{
		log:        orNop(options.Log),
		panics:     options.Panics,
		handshaken: options.Handshaken,
		watcher:    options.Files,
		slots:      make(chan struct{}, slotCount(cfg.MaxHandshakes)),
	}
	if s.handshaken == nil {
		s.handshaken = func(_, _ string) {}
	}
	s.table.Store(newTable(nil))
	s.config.Store(s.baseConfig(cfg, options.HTTP2))
	if cfg.KeyLogFile != "" {
		s.config.Load().KeyLogWriter = newKeyLog(cfg.KeyLogFile, s.log)
	}
	sources := append(s.certificateSources(cfg.Certificate), s.otherSources(cfg)...)
	s.files = newSet(sources, cfg.WatchInterval.Std(), options, func() { s.warnOfExpiry(time.Now()) })
	if cfg.Tickets.KeyFile == "" {
		s.rotate = cfg.Tickets.Rotate.Std()
		s.rotateTickets()
	}
	problems := load(sources)
	if cfg.SelfSigned {
		problems = multierror.Append(problems, s.addSelfSigned())
	}
	// At last, since it begins what only Run ends.
	if cfg.ACME != nil && problems.ErrorOrNil() == nil {
		problems = multierror.Append(problems, s.addACME(cfg.ACME, options))
	}
	if err := problems.ErrorOrNil(); err != nil {
		return nil, err
	}
	s.warnOfExpiry(time.Now())
	return s, nil
}

// slotCount returns how many handshakes may compute at once: by default one fewer than GOMAXPROCS, so that the event loops keep a
// processor.
func slotCount(configured int) int {
	if configured > 0 {
		return configured
	}
	return max(1, runtime.GOMAXPROCS(0)-1)
}

// orNop returns log, or a logger that writes nothing.
func orNop(log *zap.Logger) *zap.Logger {
	if log == nil {
		return zap.NewNop()
	}
	return log
}

// baseConfig returns what no reload changes.
func (s *Server) baseConfig(cfg *Config, offersHTTP2 bool) *ctls.Config {
	base := &ctls.Config{
		MinVersion:     ctls.VersionTLS12,
		GetCertificate: s.certificate,
		NextProtos:     []string{"http/1.1", "http/1.0"},
		// Small records first are for pages, of which a part is worth something. A frame mostly isn't.
		DynamicRecordSizingDisabled: true,
	}
	if offersHTTP2 {
		base.NextProtos = slices.Insert(base.NextProtos, 0, "h2") // the first one that the client offers, too, is chosen
	}
	if cfg.MinVersion == MinVersion13 {
		base.MinVersion = ctls.VersionTLS13
	}
	switch cfg.ClientAuth {
	case ClientAuthRequest:
		base.ClientAuth = ctls.VerifyClientCertIfGiven
		base.VerifyConnection = verifySubject
	case ClientAuthRequire:
		base.ClientAuth = ctls.RequireAndVerifyClientCert
		base.VerifyConnection = verifySubject
	}
	return base
}

// certificateSources returns one source per pair of files. Each change makes the table anew, once every pair was read.
func (s *Server) certificateSources(pairs []CertificateConfig) []*filewatch.Source {
	certs := make([]*ctls.Certificate, len(pairs))
	var sources []*filewatch.Source
	for i, pair := range pairs {
		sources = append(sources, &filewatch.Source{Paths: []string{pair.Cert, pair.Key}, Apply: func(contents [][]byte) error {
			cert, err := parsePair(contents[0], contents[1])
			if err != nil {
				return err
			}
			certs[i] = cert
			if !slices.Contains(certs, nil) {
				s.table.Store(newTable(slices.Clone(certs)))
			}
			return nil
		}})
	}
	return sources
}

// otherSources returns those of the authorities of clients, and of the ticket keys.
func (s *Server) otherSources(cfg *Config) []*filewatch.Source {
	var sources []*filewatch.Source
	if cfg.ClientCA != "" {
		sources = append(sources, &filewatch.Source{Paths: []string{cfg.ClientCA}, Apply: func(contents [][]byte) error {
			pool, err := parsePool(contents[0])
			if err != nil {
				return err
			}
			s.changeConfig(func(config *ctls.Config) { config.ClientCAs = pool })
			return nil
		}})
	}
	if cfg.Tickets.KeyFile != "" {
		sources = append(sources, &filewatch.Source{Paths: []string{cfg.Tickets.KeyFile}, Apply: func(contents [][]byte) error {
			keys, err := parseTicketKeys(contents[0])
			if err != nil {
				return err
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.config.Load().SetSessionTicketKeys(keys)
			return nil
		}})
	}
	return sources
}

// changeConfig stores a changed copy of the config, with its ticket keys.
func (s *Server) changeConfig(change func(config *ctls.Config)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	config := s.config.Load().Clone()
	change(config)
	s.config.Store(config)
}

// rotateTickets seals tickets with a fresh key from now on.
func (s *Server) rotateTickets() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tickets, s.rotateAt = rotated(s.tickets), time.Now().Add(s.rotate)
	s.config.Load().SetSessionTicketKeys(s.tickets)
}

func (s *Server) addSelfSigned() error {
	hostname, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("name of this machine: %w", err)
	}
	cert, err := newSelfSigned(hostname, time.Now())
	if err != nil {
		return fmt.Errorf("self-signed certificate: %w", err)
	}
	s.table.Store(newTable([]*ctls.Certificate{cert}))
	return nil
}

func (s *Server) addACME(cfg *ACMEConfig, options Options) (err error) {
	if s.acme, err = newACME(cfg, s.log.Named("acme"), options); err != nil {
		return fmt.Errorf("acme: %w", err)
	}
	// A configuration of its own, since an authority has no client certificate to show.
	challenge := &ctls.Config{
		GetCertificate:         s.acme.challengeCertificate,
		NextProtos:             []string{challengeProtocol},
		SessionTicketsDisabled: true,
	}
	s.changeConfig(func(config *ctls.Config) {
		config.GetConfigForClient = func(hello *ctls.ClientHelloInfo) (*ctls.Config, error) {
			if isChallenge(hello) {
				return challenge, nil
			}
			return nil, nil // the config of everyone
		}
	})
	return nil
}

// certificate is ctls.Config.GetCertificate.
func (s *Server) certificate(hello *ctls.ClientHelloInfo) (*ctls.Certificate, error) {
	certs := s.table.Load()
	if cert := certs.find(hello); cert != nil {
		return cert, nil
	}
	if s.acme != nil && s.acme.has(hello.ServerName) {
		if cert, err := s.acme.certificate(hello, hello.ServerName); err == nil {
			return cert, nil
		}
	}
	if cert := certs.byDefault(hello); cert != nil {
		return cert, nil
	}
	if s.acme != nil {
		return s.acme.byDefault(hello)
	}
	return nil, errNoCertificate
}

// HTTPChallenge returns what answers a GET of path for host, where that is a challenge of http-01
// (RFC 8555 section 8.3) that this gateway, or one with the same storage, waits for. Every path of
// one starts with ChallengePath. The answer is 200 with a Content-Type of text/plain. It may read a
// file, and is safe for use by several goroutines.
func (s *Server) HTTPChallenge(ctx context.Context, host, path string) (body string, ok bool) {
	if s.acme == nil {
		return "", false
	}
	return s.acme.httpChallenge(ctx, host, path)
}

// Run watches the files, rotates ticket keys and keeps the certificates of ACME. It returns when
// ctx ends and everything that it began has ended; live sessions don't need it.
func (s *Server) Run(ctx context.Context) {
	var background sync.WaitGroup
	background.Go(func() { s.files.Run(ctx, s.watcher) })
	if s.acme != nil {
		background.Go(func() { s.acme.run(ctx) })
	}
	s.runClocks(ctx)
	background.Wait()
}

// runClocks rotates ticket keys and warns of the end of certificates.
func (s *Server) runClocks(ctx context.Context) {
	expiry := time.NewTicker(expiryLookInterval)
	defer expiry.Stop()
	rotate := time.NewTimer(s.rotateDue())
	defer rotate.Stop()
	if s.rotate == 0 {
		rotate.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-expiry.C:
			s.panics.Guard(room, func() { s.warnOfExpiry(time.Now()) })
		case <-rotate.C:
			s.panics.Guard(room, s.rotateTickets)
			rotate.Reset(s.rotate)
		}
	}
}
