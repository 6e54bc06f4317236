package tls

import (
	"context"
	ctls "crypto/tls"
	"crypto/x509"
	"sync"
	"sync/atomic"

	"sluice/internal/filewatch"
)

// clientSessionCount is how many TLS sessions with backends are remembered for resumption.
const clientSessionCount = 256

// A Client makes the configuration of TLS towards the backends of one pool.
type Client struct {
	files   filewatch.Set      // owned by Run
	watcher *filewatch.Watcher // nil: none
	config  atomic.Pointer[clientConfig]
}

// A clientConfig is what the files hold at one time.
type clientConfig struct {
	base *ctls.Config // immutable

	mu sync.Mutex

	named map[string]*ctls.Config // base with a ServerName, by that; guarded by mu
}

// maxNamedConfigs bounds clientConfig.named: what discovery by DNS finds may change without end.
const maxNamedConfigs = 1024

// NewClient returns the client of a section that Check has no problem with. It speaks options.Protocols.
func NewClient(cfg *ClientConfig, options Options) (*Client, error) {
	c := &Client{watcher: options.Files}
	var sources []*filewatch.Source
	var roots *x509.CertPool
	var certs []ctls.Certificate
	store := func() { c.config.Store(newClientConfig(cfg, options.Protocols, roots, certs)) }
	store()
	if cfg.CA != "" {
		sources = append(sources, &filewatch.Source{Paths: []string{cfg.CA}, Apply: func(contents [][]byte) error {
			pool, err := parsePool(contents[0])
			if err != nil {
				return err
			}
			roots = pool
			store()
			return nil
		}})
	}
	if cfg.Cert != "" {
		sources = append(sources, &filewatch.Source{Paths: []string{cfg.Cert, cfg.Key}, Apply: func(contents [][]byte) error {
			cert, err := parsePair(contents[0], contents[1])
			if err != nil {
				return err
			}
			certs = []ctls.Certificate{*cert}
			store()
			return nil
		}})
	}
	if err := load(sources).ErrorOrNil(); err != nil {
		return nil, err
	}
	c.files = newSet(sources, cfg.WatchInterval.Std(), options, nil)
	return c, nil
}

func newClientConfig(cfg *ClientConfig, protocols []string, roots *x509.CertPool, certs []ctls.Certificate) *clientConfig {
	if len(protocols) == 0 {
		protocols = []string{"http/1.1"}
	}
	return &clientConfig{
		base: &ctls.Config{
			MinVersion: ctls.VersionTLS12,
			NextProtos: protocols,

			DynamicRecordSizingDisabled: true, // as Server's

			RootCAs:            roots,
			Certificates:       certs,
			ServerName:         cfg.ServerName,
			InsecureSkipVerify: cfg.Insecure,
			// A new one with each config: a session that was agreed on under other authorities, or as
			// another client, must not go on under these.
			ClientSessionCache: ctls.NewLRUClientSessionCache(clientSessionCount),
		},
		named: map[string]*ctls.Config{},
	}
}

// Config returns the configuration for a connection to host, which proves that name unless the
// section has another. The caller must not change it; connections to one host share it, so that an
// idle one costs no copy. It is safe for use by several goroutines.
func (c *Client) Config(host string) *ctls.Config {
	current := c.config.Load()
	if current.base.ServerName != "" {
		return current.base
	}
	current.mu.Lock()
	defer current.mu.Unlock()
	named, found := current.named[host]
	if !found {
		named = current.base.Clone()
		named.ServerName = host
		if len(current.named) >= maxNamedConfigs {
			clear(current.named)
		}
		current.named[host] = named
	}
	return named
}

// Run watches the files until ctx ends. Without it, the section stays as New has read it.
func (c *Client) Run(ctx context.Context) { c.files.Run(ctx, c.watcher) }
