package config

import (
	"github.com/hashicorp/go-multierror"

	"sluice/internal/recovery"
	"sluice/internal/units"
	"sluice/proxy"
	"sluice/tls"
)

// rehearse builds what a gateway has of the configuration, without its sockets and goroutines, and reports what goes wrong then, and
// with requests to its routes. No section has a problem of its own. Keys are full paths.
func (f *File) rehearse(report units.Report) {
	sections := proxy.Sections{Listeners: f.Listeners(), Routes: f.Route, Pools: f.Pools()}
	try := func(key string, build func() error) {
		for _, err := range multierror.Append(nil, recovery.Try(build)).Errors {
			report(key, err.Error(), nil, "what can be built")
		}
	}
	for i := range f.Listener {
		l := &f.Listener[i]
		if l.TLS == nil {
			continue
		}
		sections.Listeners[i].TLS = unheardTLS{}
		section := *l.TLS
		section.ACME = nil // it would make a directory and begin to work
		try(units.Indexed("listener", i)+".tls", func() error {
			_, err := tls.New(&section, tls.Options{})
			return err
		})
	}
	for i := range f.Pool {
		try(units.Indexed("pool", i)+".tls", func() error {
			_, err := tls.NewClient(&f.Pool[i].TLS, tls.Options{})
			return err
		})
	}
	proxy.Rehearse(sections, report)
}

// unheardTLS stands for the TLS of a listener that nothing connects to.
type unheardTLS struct{ proxy.TLSServer }
