package balancer

import "time"

// updateBackends makes the pool's backends those of the configuration, with names replaced by the
// backends that their sources found. The caller holds mu.
func (p *Pool) updateBackends(now time.Time) {
	specs := p.specs()
	p.isStale = true    // weights and limits are not part of a state
	p.background.wake() // if the code below panics, Run completes the change
	for _, b := range p.backends {
		b.isGone = true
	}
	p.backends = nil
	for _, s := range specs {
		b := p.byID[s.id()]
		if b == nil {
			b = newBackend(p, s)
			p.byID[s.id()] = b
		}
		b.spec, b.isGone = s, false
		b.weight.Store(int64(s.weight))
		b.cookie = stickyCookie{}
		if p.signer != nil {
			b.cookie = p.signer.cookie(b.address)
		}
		p.backends = append(p.backends, b)
	}
	for id, b := range p.byID {
		p.updateState(b, now, "")
		if b.isGone && b.Sessions() == 0 {
			delete(p.byID, id)
			delete(p.drains, b)
		}
	}
	p.isPopulated = p.isPopulated || len(p.backends) > 0
	p.applyChanges(now)
}

// specs returns the backends that the pool is to have, each address once: the first one counts.
func (p *Pool) specs() []spec {
	var specs []spec
	seen := make(map[string]bool)
	for i := range p.cfg.Backend {
		for _, s := range p.specsOf(&p.cfg.Backend[i]) {
			if !seen[s.id()] {
				seen[s.id()] = true
				specs = append(specs, s)
			}
		}
	}
	return specs
}

// specsOf returns the backends that one configured backend stands for: itself, or what its name's
// source found.
func (p *Pool) specsOf(c *BackendConfig) []spec {
	a, err := p.cfg.address(c)
	if err != nil {
		panic("BUG: unchecked address " + c.Address)
	}
	configured := spec{address: a, weight: c.Weight, backup: c.Backup, maxSessions: c.MaxSessions}
	if !p.cfg.Discovery.IsOn() || !a.isName() {
		return []spec{configured}
	}
	d := p.found[c.Address]
	if d == nil {
		return nil
	}
	var specs []spec
	for _, found := range d.specs {
		s := configured
		s.address, s.backup = found.address, c.Backup || found.backup
		if found.network == "tcp" {
			s.authority = authorityOf(a.host(), found.port(), found.tls)
		}
		if found.weight > 0 {
			s.weight = found.weight
		}
		specs = append(specs, s)
	}
	return specs
}

// address parses the address of one of c's backends.
func (c *Config) address(b *BackendConfig) (address, error) {
	return parseAddress(b.Address, c.Discovery.FindsPorts())
}
