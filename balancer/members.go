package balancer

import "time"

// define makes the members those of the definition, with names replaced by the backends that were found
// for them. The caller holds mu.
func (p *Pool) define(now time.Time) {
	wanted := p.wanted()
	p.isStale = true // weights and limits are no state
	p.keeper.wake()  // after a panic below, its turn does the rest
	for _, b := range p.members {
		b.isGone = true
	}
	p.members = nil
	for _, m := range wanted {
		b := p.known[m.id()]
		if b == nil {
			b = newBackend(p, m)
			p.known[m.id()] = b
		}
		b.member, b.isGone = m, false
		b.weight.Store(int64(m.weight))
		b.cookie = stickyCookie{}
		if p.signer != nil {
			b.cookie = p.signer.cookie(b.address)
		}
		p.members = append(p.members, b)
	}
	for id, b := range p.known {
		p.settle(b, now, nil)
		if b.isGone && b.Sessions() == 0 {
			delete(p.known, id)
			delete(p.drains, b)
		}
	}
	p.isLive = p.isLive || len(p.members) > 0
	p.changed(now)
}

// wanted returns the members of the definition, each address once: the first one counts.
func (p *Pool) wanted() []member {
	var members []member
	seen := make(map[string]bool)
	for i := range p.cfg.Backend {
		for _, m := range p.membersOf(&p.cfg.Backend[i]) {
			if !seen[m.id()] {
				seen[m.id()] = true
				members = append(members, m)
			}
		}
	}
	return members
}

// membersOf returns what one element of the definition stands for.
func (p *Pool) membersOf(c *BackendConfig) []member {
	a, err := p.cfg.address(c)
	if err != nil {
		panic("BUG: unchecked address " + c.Address)
	}
	whole := member{address: a, weight: c.Weight, backup: c.Backup, maxSessions: c.MaxSessions}
	if !p.cfg.Discovery.IsOn() || !a.isName() {
		return []member{whole}
	}
	d := p.found[c.Address]
	if d == nil {
		return nil
	}
	var members []member
	for _, found := range d.members {
		m := whole
		m.address, m.backup = found.address, c.Backup || found.backup
		if found.weight > 0 {
			m.weight = found.weight
		}
		members = append(members, m)
	}
	return members
}

// address reads the address of one of c's backends.
func (c *Config) address(b *BackendConfig) (address, error) {
	return parseAddress(b.Address, c.Discovery.FindsPorts())
}
