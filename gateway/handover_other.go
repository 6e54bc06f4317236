//go:build !linux

package gateway

import (
	"context"
	"errors"
	"net"

	"sluice/handover"
	"sluice/internal/admin"
	"sluice/proxy/driver"
)

// Only Linux hands sessions over.
var errNotLinux = errors.New("only on Linux can sessions be handed over to a new process")

type (
	successor   struct{}
	predecessor struct{ conn *handover.Conn }
)

func (*successor) stop() {}

func (*predecessor) stop() {}

func (*predecessor) take(string, string) net.Listener { return nil }

func (*predecessor) takeAdmin(string) net.Listener { return nil }

func (*predecessor) closeRest(bool) {}

func (g *Gateway) handOver(context.Context) (*admin.Upgraded, error) { return nil, errNotLinux }

func (g *Gateway) retire(context.Context) {}

// meetBefore reports that there is no process before.
func (g *Gateway) meetBefore() error { return nil }

// newDriver returns the driver that the configuration names.
func (g *Gateway) newDriver() (driver.Driver, error) {
	return driver.New(g.file.Load().Gateway.Driver, setProcs(g.file.Load().Gateway.Workers), g.panics.Handler)
}

func (g *Gateway) beginTakeOver() error { return errNotLinux }

func (g *Gateway) takeOver() {}

// OpenHandover returns nil: no process hands over to this one.
func OpenHandover() (*handover.Conn, error) { return nil, nil }

// RefuseHandover does nothing.
func RefuseHandover(*handover.Conn, error) {}
