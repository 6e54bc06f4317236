//go:build !linux

package echo

import (
	"context"
	"net"
)

// serve runs a goroutine a connection; loops are Linux's.
func (s *server) serve(ctx context.Context, ln net.Listener, _ int) error {
	return s.serveConns(ctx, ln)
}
