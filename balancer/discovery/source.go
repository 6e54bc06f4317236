package discovery

import "context"

// A Source finds backends and follows their changes.
type Source interface {
	// Watch blocks until ctx ends and calls report after each attempt to find the backends, from one
	// goroutine. The list is complete: a backend that it lacks is gone. It belongs to the receiver.
	// With an error there is no list, and the receiver keeps the last one. When Watch returns, all that
	// it started has ended. It is called once at a time, and again after a panic.
	Watch(ctx context.Context, report func(found []Backend, err error))
	// Refresh asks for the next attempt to be made soon, since a backend could not be reached. It does
	// not block. A source that is told of changes as they happen ignores it. Any goroutine may call it.
	Refresh()
}

// A Backend is one address that a source found.
type Backend struct {
	// Address is where the backend listens, as a pool's configuration spells it: "host:port",
	// "wss://host:port" (TLS to the backend) or "unix:/path".
	Address string
	// ServerName is the name in the certificate of a backend with TLS. Empty means the address's host.
	ServerName string
	// Weight is the backend's share relative to the others. 0 means that the source knows none, and
	// the configured weight applies.
	Weight int
	// Backup reports whether the backend is used only when no other is available. A configured backup
	// stays one in any case.
	Backup bool
}
