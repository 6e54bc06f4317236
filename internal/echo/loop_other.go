//go:build !linux

package echo

import (
	"context"
	"net"
)

// serve runs one goroutine per connection, since loops need Linux.
func (s *server) serve(ctx context.Context, ln net.Listener, _ int) error {
	return s.serveConns(ctx, ln)
}
