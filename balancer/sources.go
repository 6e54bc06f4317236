package balancer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"sluice/balancer/discovery"
	"sluice/internal/netconn"
	"sluice/internal/recovery"
)

// maxDiscovered bounds the backends that one source may find.
const maxDiscovered = 4096

// A discovered is what the source of a name found. Guarded by the pool's mu.
type discovered struct {
	specs     []spec // the last good list, in which a weight of 0 means the configured one; nil: none yet
	isFailing bool   // the last attempt found no list
}

// sources watches the sources of the pool's names, with a goroutine for each. Owned by the goroutine of
// Run.
type sources struct {
	pool    *Pool
	panics  recovery.Handler
	config  discovery.Config
	watches map[string]watch // by the text of the name
	running sync.WaitGroup
}

// A watch is a source that a goroutine watches.
type watch struct {
	source discovery.Source
	cancel context.CancelFunc
}

func newSources(p *Pool, panics recovery.Handler) *sources {
	return &sources{pool: p, panics: panics, watches: make(map[string]watch)}
}

// adjust starts and ends goroutines so that the source of each configured name is watched.
func (ss *sources) adjust(ctx context.Context) {
	config, names := ss.pool.namesOf()
	isOther := config != ss.config
	ss.config = config
	for text, w := range ss.watches {
		if _, isListed := names[text]; isOther || !isListed {
			w.cancel()
			delete(ss.watches, text)
		}
	}
	for text, name := range names {
		if _, isWatched := ss.watches[text]; isWatched {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		source := config.Source(name)
		ss.watches[text] = watch{source, cancel}
		ss.running.Go(func() { ss.watch(ctx, text, source) })
	}
}

// refresh asks each source to make its next attempt soon.
func (ss *sources) refresh() {
	for _, w := range ss.watches {
		w.source.Refresh()
	}
}

func (ss *sources) stop() {
	for _, w := range ss.watches {
		w.cancel()
	}
	ss.running.Wait()
}

// watch watches a source until ctx ends. After a panic the last list is kept, and the source is watched
// again.
func (ss *sources) watch(ctx context.Context, text string, source discovery.Source) {
	for ctx.Err() == nil {
		ss.panics.Guard(room, func() {
			source.Watch(ctx, func(found []discovery.Backend, err error) {
				if ctx.Err() == nil {
					ss.pool.discovered(text, found, err)
				}
			})
		})
		select {
		case <-ctx.Done():
		case <-time.After(panicPause):
		}
	}
}

// namesOf returns the configured names, by their text, and how their backends are found.
func (p *Pool) namesOf() (discovery.Config, map[string]discovery.Name) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg.Discovery, p.names()
}

// names returns the configured addresses that have a source, by their text. The caller holds mu.
func (p *Pool) names() map[string]discovery.Name {
	names := make(map[string]discovery.Name)
	if !p.cfg.Discovery.IsOn() {
		return names
	}
	for i := range p.cfg.Backend {
		c := &p.cfg.Backend[i]
		if a, err := p.cfg.address(c); err == nil && a.isName() {
			names[c.Address] = discovery.Name{Host: a.host(), Port: a.port(), TLS: a.tls}
		}
	}
	return names
}

// forgetNames drops what was found for names that are no longer configured. The caller holds mu.
func (p *Pool) forgetNames() {
	names := p.names()
	for text := range p.found {
		if _, isListed := names[text]; !isListed {
			delete(p.found, text)
		}
	}
}

// discovered makes list the backends that a name stands for. On an error, or if the list is empty, the
// last list is kept: backends that answered a minute ago are a better guess than none.
func (p *Pool) discovered(text string, list []discovery.Backend, err error) {
	specs, err := specsFound(list, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, isListed := p.names()[text]; !isListed {
		return // it was removed in the meantime
	}
	d := p.found[text]
	if d == nil {
		d = new(discovered)
		p.found[text] = d
	}
	fields := []zap.Field{zap.String("pool", p.cfg.Name), zap.String("name", text), zap.Int("backends", len(d.specs))}
	switch wasFailing := d.isFailing; {
	case err != nil && wasFailing:
		return
	case err != nil:
		d.isFailing = true
		p.log.Warn("name not resolved, last backends kept", append(fields, zap.String("error", netconn.Explain(err)))...)
		return
	case wasFailing:
		d.isFailing = false
		p.log.Info("name resolved again", fields...)
	}
	if !slices.Equal(d.specs, specs) {
		d.specs = specs
		p.updateBackends(time.Now())
	}
}

// specsFound reads the list of a source.
func specsFound(list []discovery.Backend, err error) ([]spec, error) {
	switch {
	case err != nil:
		return nil, err
	case len(list) == 0:
		return nil, errors.New("no address found")
	case len(list) > maxDiscovered:
		return nil, fmt.Errorf("%d addresses found (want at most %d)", len(list), maxDiscovered)
	}
	specs := make([]spec, len(list))
	for i, b := range list {
		a, err := parseAddress(b.Address, false)
		if err != nil {
			return nil, fmt.Errorf("address %q found: %w", b.Address, err)
		}
		if a.tls && b.ServerName != "" {
			a.serverName = b.ServerName
		}
		specs[i] = spec{address: a, weight: b.Weight, backup: b.Backup}
	}
	return specs, nil
}
