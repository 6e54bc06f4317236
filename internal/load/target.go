package load

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
)

// target is the server that gets the load. Immutable.
type target struct {
	addr    netip.AddrPort
	host    string // for the Host field
	request string // path and query
	isSized bool   // push: the request asks for messages of -size
	tls     *tls.Config
}

// resolve parses the URL and looks up its host, once for all connections.
func resolve(ctx context.Context, o *Options) (*target, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, optionf("-url: %v", err)
	}
	port := map[string]string{"ws": "80", "wss": "443"}[u.Scheme]
	if port == "" || u.Hostname() == "" {
		return nil, optionf("-url %s: want ws://HOST[:PORT]/PATH or wss://…", o.URL)
	}
	if u.Port() != "" {
		port = u.Port()
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return nil, optionf("-url: port %s: want 1 to 65535", port)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return nil, fmt.Errorf("-url: %w", err)
	}
	for _, ip := range ips {
		if !ip.Unmap().IsLoopback() && !o.AllowRemote {
			return nil, optionf("-url: %s is not a loopback address: -allow-remote permits it", ip.Unmap())
		}
	}
	isSized := o.Mode == Push && u.RawQuery == ""
	if isSized {
		toPush(u, o)
	}
	t := &target{addr: netip.AddrPortFrom(ips[0].Unmap(), uint16(number)), host: u.Host, request: u.RequestURI(), isSized: isSized}
	if u.Scheme == "wss" {
		if t.tls, err = clientTLS(o, u.Hostname()); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// toPush makes a URL without a query request an endless stream of messages.
func toPush(u *url.URL, o *Options) {
	if u.Path == "" || u.Path == "/" {
		u.Path = "/push"
	}
	u.RawQuery = url.Values{"size": {strconv.FormatInt(int64(o.Size), 10)}, "count": {"0"}}.Encode()
}

func clientTLS(o *Options, host string) (*tls.Config, error) {
	c := &tls.Config{ServerName: host, NextProtos: []string{"http/1.1"}}
	if o.Streams > 0 {
		c.NextProtos = []string{"h2"}
	}
	if o.Resume {
		c.ClientSessionCache = tls.NewLRUClientSessionCache(o.Connections)
	}
	if o.CA == "" {
		return c, nil
	}
	pem, err := os.ReadFile(o.CA)
	if err != nil {
		return nil, optionf("-ca: %v", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, optionf("-ca %s: the file has no certificate", o.CA)
	}
	return c, nil
}
