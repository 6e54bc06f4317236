package discovery

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A dns looks up the backends that a name stands for in DNS. Immutable.
type dns struct {
	name    Name
	records string // RecordsA or RecordsSRV
	server  string // "address:port"; empty: the system's
	timeout time.Duration
}

func newDNS(c *Config, n Name) *dns {
	return &dns{name: n, records: c.DNS, server: c.Server, timeout: c.Timeout.Std()}
}

// lookup returns the backends, each once and in order, so that two lists of the same ones are equal.
func (d *dns) lookup(ctx context.Context) ([]Backend, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	lookup := d.lookupHost
	if d.records == RecordsSRV {
		lookup = d.lookupSRV
	}
	found, err := lookup(ctx, d.resolver(ctx))
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b Backend) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.ServerName, b.ServerName), cmp.Compare(b.Weight, a.Weight))
	})
	return slices.CompactFunc(found, func(a, b Backend) bool { return a.Address == b.Address && a.ServerName == b.ServerName }), nil
}

// resolver returns the resolver of one lookup. A configured server's connections end with ctx: package
// net would wait for an answer until its own time-out, after the lookup has returned.
func (d *dns) resolver(ctx context.Context) *net.Resolver {
	if d.server == "" {
		return net.DefaultResolver
	}
	return &net.Resolver{PreferGo: true, Dial: func(dialCtx context.Context, network, _ string) (net.Conn, error) {
		var dialer net.Dialer
		conn, err := dialer.DialContext(dialCtx, network, d.server)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		return conn, nil
	}}
}

func (d *dns) lookupHost(ctx context.Context, r *net.Resolver) ([]Backend, error) {
	return d.addressesOf(ctx, r, d.name.Host, d.name.Port)
}

// lookupSRV follows the records to their addresses. RFC 2782: a client "MUST attempt to contact the
// target host with the lowest-numbered priority it can reach", so the higher ones are backups. A
// record that leads to no address is passed over while another one leads to some.
func (d *dns) lookupSRV(ctx context.Context, r *net.Resolver) ([]Backend, error) {
	_, records, err := r.LookupSRV(ctx, "", "", d.name.Host)
	if err != nil {
		return nil, err
	}
	var all []Backend
	var lastErr error
	for _, record := range records {
		found, err := d.addressesOf(ctx, r, record.Target, strconv.Itoa(int(record.Port)))
		if record.Port == 0 {
			found, err = nil, fmt.Errorf("SRV record of %s for %s: port 0", d.name.Host, record.Target)
		}
		if err != nil {
			lastErr = err
		}
		for _, b := range found {
			// RFC 2782 gives weight 0 a very small chance of being selected: here that is the least weight.
			b.Weight = max(1, int(record.Weight))
			b.Backup = record.Priority > records[0].Priority // sorted by the resolver
			all = append(all, b)
		}
	}
	if len(all) == 0 {
		return nil, lastErr
	}
	return all, nil
}

// addressesOf returns the addresses of a host.
func (d *dns) addressesOf(ctx context.Context, r *net.Resolver, host, port string) ([]Backend, error) {
	ips, err := r.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var found []Backend
	for _, ip := range ips {
		b := Backend{Address: net.JoinHostPort(ip.Unmap().String(), port)}
		if d.name.TLS {
			b.Address, b.ServerName = "wss://"+b.Address, strings.TrimSuffix(host, ".")
		}
		found = append(found, b)
	}
	return found, nil
}
