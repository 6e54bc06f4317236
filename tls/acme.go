package tls

import (
	"context"
	ctls "crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"sluice/internal/filewatch"
	"sluice/internal/recovery"
)

// ChallengePath is where the paths of http-01 begin (RFC 8555 section 8.3).
const ChallengePath = "/.well-known/acme-challenge/"

const (
	challengeProtocol     = acmez.ACMETLS1Protocol // RFC 8737 section 4
	letsEncryptURL        = certmagic.LetsEncryptProductionCA
	letsEncryptStagingURL = certmagic.LetsEncryptStagingCA
)

// errNoCertificate ends the handshake of a client that there is no certificate for.
var errNoCertificate = errors.New("no certificate")

// An acmeManager keeps the certificates of an ACMEConfig. certmagic does the work and owns the
// state; what is here is immutable.
type acmeManager struct {
	domains []string // lower case
	magic   *certmagic.Config
	cache   *certmagic.Cache
	issuer  *certmagic.ACMEIssuer
	log     *zap.Logger
	panics  recovery.Handler
}

// newACME returns a manager whose run must be called.
func newACME(cfg *ACMEConfig, log *zap.Logger, options Options) (*acmeManager, error) {
	template, err := issuerTemplate(cfg, options)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Storage, 0o700); err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	// A stranger's handshake for acme-tls/1 that is no challenge makes a line at level error.
	log = log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Minute, 10, 0)
	}))
	template.Logger = log
	m := &acmeManager{log: log, panics: options.Panics}
	for _, domain := range cfg.Domains {
		m.domains = append(m.domains, strings.ToLower(domain))
	}
	m.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return m.magic, nil },
		Logger:           log,
	})
	m.magic = certmagic.New(m.cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: cfg.Storage},
		Logger:  log,
		OnEvent: func(_ context.Context, event string, data map[string]any) error {
			isRenewal, _ := data["renewal"].(bool)
			switch {
			case event == eventCached, event == eventObtained && isRenewal:
				options.reloaded(ReloadApplied)
			case event == eventFailed:
				options.reloaded(ReloadRefused)
			}
			return nil
		},
		ShouldEmitFunc: func(event string) bool { return event != "tls_get_certificate" }, // each handshake's
	})
	m.issuer = certmagic.NewACMEIssuer(m.magic, template)
	m.magic.Issuers = []certmagic.Issuer{m.issuer}
	m.takeStored(cfg.Storage)
	return m, nil
}

// takeStored makes the certificates in the storage effective: those that a gateway has obtained before, or this one until a reload. So the
// first handshake has them. It sends no requests: OCSP staples come later. begin reports what takeStored can't use.
func (m *acmeManager) takeStored(storage string) {
	stored := certmagic.New(m.cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: storage},
		Issuers: m.magic.Issuers,
		OCSP:    certmagic.OCSPConfig{DisableStapling: true},
		Logger:  m.log,
	})
	for _, domain := range m.domains {
		_, _ = stored.CacheManagedCertificate(context.Background(), domain)
	}
}

// The events of certmagic that are counted: a certificate can be served from now on, was ordered (a
// renewal is not announced as cached), could not be ordered.
const (
	eventCached   = "cached_managed_cert"
	eventObtained = "cert_obtained"
	eventFailed   = "cert_failed"
)

// issuerTemplate returns the authority and the challenges as certmagic expects them.
func issuerTemplate(cfg *ACMEConfig, options Options) (certmagic.ACMEIssuer, error) {
	template := certmagic.ACMEIssuer{Email: cfg.Email, Agreed: true}
	var err error
	if template.CA, err = cfg.directoryURL(); err != nil {
		return template, err
	}
	if cfg.CAFile != "" {
		text, err := filewatch.ReadFile(cfg.CAFile)
		if err != nil {
			return template, err
		}
		if template.TrustedRoots, err = parsePool(text); err != nil {
			return template, fmt.Errorf("%s: %w", cfg.CAFile, err)
		}
	}
	if template.ExternalAccount, err = cfg.binding(); err != nil {
		return template, err
	}
	return template, cfg.setChallenges(&template, options)
}

// binding returns the external account, nil if there is none.
func (c *ACMEConfig) binding() (*acme.EAB, error) {
	if c.EABKeyID == "" {
		return nil, nil
	}
	key := c.EABKey
	if c.EABKeyFile != "" {
		text, err := filewatch.ReadFile(c.EABKeyFile)
		if err != nil {
			return nil, err
		}
		key = strings.TrimSpace(string(text))
	}
	return &acme.EAB{KeyID: c.EABKeyID, MACKey: strings.TrimRight(key, "=")}, nil
}

// setChallenges allows the challenges that the configuration allows and a listener can answer.
// certmagic opens the ports of challenges itself unless they are taken. It gets the ports of our own listeners, so that it finds them
// taken and leaves the answers to us.
func (c *ACMEConfig) setChallenges(template *certmagic.ACMEIssuer, options Options) error {
	allows := func(challenge string) bool {
		return len(c.Challenges) == 0 || slices.Contains(c.Challenges, challenge)
	}
	template.DisableTLSALPNChallenge = options.Address == "" || !allows(ChallengeTLSALPN)
	template.DisableHTTPChallenge = options.HTTPAddress == "" || !allows(ChallengeHTTP)
	var err error
	if !template.DisableHTTPChallenge {
		if template.ListenHost, template.AltHTTPPort, err = splitAddress(options.HTTPAddress); err != nil {
			return err
		}
	}
	if !template.DisableTLSALPNChallenge {
		if template.ListenHost, template.AltTLSALPNPort, err = splitAddress(options.Address); err != nil {
			return err
		}
	}
	if template.DisableTLSALPNChallenge && template.DisableHTTPChallenge {
		return errors.New("no listener can answer a challenge: tls-alpn-01 needs this one on a TCP port, http-01 a plain one")
	}
	return nil
}

func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(text)
	return host, port, err
}

// run obtains what is missing, and renews it in time, until ctx ends. Whatever fails is tried again.
func (m *acmeManager) run(ctx context.Context) {
	var obtaining sync.WaitGroup
	for _, domain := range m.domains {
		obtaining.Go(func() {
			m.panics.Guard(room, func() {
				if err := m.begin(ctx, domain); err != nil && ctx.Err() == nil {
					m.log.Error("no certificate obtained", zap.String("name", domain), zap.Error(err))
				}
			})
		})
	}
	<-ctx.Done()
	obtaining.Wait()
	m.cache.Stop()
}

// begin returns when a domain has its certificate, which the cache then renews, or when there is no
// hope of one. It does what certmagic's ManageAsync does, whose end can't be waited for.
func (m *acmeManager) begin(ctx context.Context, domain string) error {
	cert, err := m.magic.CacheManagedCertificate(ctx, domain)
	if errors.Is(err, fs.ErrNotExist) {
		// Async means that it tries for 30 days and never prompts at a terminal; the call itself waits.
		if err := m.magic.ObtainCertAsync(ctx, domain); err != nil {
			return err
		}
		_, err = m.magic.CacheManagedCertificate(ctx, domain)
		return err
	}
	if err == nil && cert.NeedsRenewal(m.magic) {
		return m.cache.RenewManagedCertificates(ctx) // now, not at the cache's first look
	}
	return err
}

// has says whether name is one of the manager's domains.
func (m *acmeManager) has(name string) bool {
	return slices.Contains(m.domains, strings.ToLower(strings.TrimSuffix(name, ".")))
}

// certificate returns the certificate for a domain, errNoCertificate as long as there is none.
func (m *acmeManager) certificate(hello *ctls.ClientHelloInfo, domain string) (*ctls.Certificate, error) {
	choices := m.cache.AllMatchingCertificates(strings.ToLower(strings.TrimSuffix(domain, ".")))
	if len(choices) == 0 {
		return nil, errNoCertificate
	}
	cert, err := certmagic.DefaultCertificateSelector(hello, choices)
	return &cert.Certificate, err
}

// byDefault returns the certificate of the first domain that has one.
func (m *acmeManager) byDefault(hello *ctls.ClientHelloInfo) (*ctls.Certificate, error) {
	for _, domain := range m.domains {
		if cert, err := m.certificate(hello, domain); err == nil {
			return cert, nil
		}
	}
	return nil, errNoCertificate
}

// isChallenge says whether a client is an authority that validates a domain by tls-alpn-01. RFC
// 8737 section 3: "the ACME server MUST provide an ALPN extension with the single protocol name
// "acme-tls/1"".
func isChallenge(hello *ctls.ClientHelloInfo) bool {
	return len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == challengeProtocol
}

// challengeCertificate returns what answers a challenge of tls-alpn-01.
func (m *acmeManager) challengeCertificate(hello *ctls.ClientHelloInfo) (*ctls.Certificate, error) {
	if !m.has(hello.ServerName) {
		return nil, errNoCertificate
	}
	cert, err := m.magic.GetCertificate(hello)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoCertificate, err)
	}
	return cert, nil
}

// httpChallenge does what Server.HTTPChallenge says.
func (m *acmeManager) httpChallenge(ctx context.Context, host, path string) (body string, ok bool) {
	name := host
	if withoutPort, _, err := net.SplitHostPort(host); err == nil {
		name = withoutPort
	}
	token, isChallengePath := strings.CutPrefix(path, ChallengePath)
	if !isChallengePath || token == "" || !m.has(name) {
		return "", false
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+name, nil)
	if err != nil {
		return "", false
	}
	request.URL.Path = path
	var answer recorder
	ok = m.issuer.HandleHTTPChallenge(&answer, request)
	return answer.body.String(), ok
}

// A recorder is an http.ResponseWriter that keeps a body.
type recorder struct {
	header http.Header
	body   strings.Builder
}

func (r *recorder) Header() http.Header {
	if r.header == nil {
		r.header = http.Header{}
	}
	return r.header
}

func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

func (r *recorder) WriteHeader(int) {}

// leaves returns the certificates that there are.
func (m *acmeManager) leaves() []*x509.Certificate {
	var leaves []*x509.Certificate
	for _, domain := range m.domains {
		for _, cert := range m.cache.AllMatchingCertificates(domain) {
			leaves = append(leaves, cert.Leaf)
		}
	}
	return leaves
}
