package config

import (
	"sluice/balancer"
	"sluice/internal/units"
	"sluice/proxy"
	"sluice/tls"
)

// A Listener is a [[listener]] with its [listener.tls].
type Listener struct {
	proxy.ListenerConfig
	// TLS secures the listener's connections; nil: they stay as they are.
	TLS *tls.Config `toml:"tls"`
}

// Check reports every problem of the section.
func (l *Listener) Check(report units.Report) {
	l.ListenerConfig.Check(report)
	if l.TLS == nil {
		return
	}
	l.TLS.Check(below("tls", report))
	if l.RedirectHTTPS {
		report("redirect_https", "with tls it leads back here", true, "false, and a listener without tls that redirects")
	}
}

// A Pool is a [[pool]] with its [pool.tls].
type Pool struct {
	balancer.Config
	// TLS is for the backends that speak it: those with an address wss://.
	TLS tls.ClientConfig `toml:"tls"`
}

// Check reports every problem of the section.
func (p *Pool) Check(report units.Report) {
	p.Config.Check(report)
	p.TLS.Check(below("tls", report))
}

// below is report for the keys of a table in a section.
func below(table string, report units.Report) units.Report {
	return func(key, problem string, got any, want string) { report(joinKey(table, key), problem, got, want) }
}

// Listeners returns the listeners as package proxy has them, without TLS.
func (f *File) Listeners() []proxy.Listener {
	configs := make([]proxy.Listener, len(f.Listener))
	for i := range f.Listener {
		configs[i].ListenerConfig = f.Listener[i].ListenerConfig
	}
	return configs
}

// Pools returns the pools as package proxy has them, without TLS.
func (f *File) Pools() []proxy.Pool {
	configs := make([]proxy.Pool, len(f.Pool))
	for i := range f.Pool {
		configs[i].Config = f.Pool[i].Config
	}
	return configs
}
