package echo

import (
	"context"
	"net"
	"sync"
	"time"
)

// Bounds on what a peer may ask of us.
const (
	maxHeadBytes   = 16 << 10
	headTimeout    = 10 * time.Second
	maxQueue       = 64 << 10  // output that waits before reading stops
	maxPushSize    = 1 << 30   // payload of one pushed message
	maxLingerBytes = 256 << 10 // input discarded after our last byte, so that the peer gets to read that
	lingerTimeout  = time.Second
)

// Options is what a server can be told. The zero value serves.
type Options struct {
	Greeting string // a text message sent at open, UTF-8; "": none
	Loops    int    // epoll loops (Linux); 0: as many as GOMAXPROCS
}

// Serve serves ln until ctx ends, then closes every connection with 1001, and ln, and returns nil. A failure of ln or of a
// loop ends all the same way and is returned.
func Serve(ctx context.Context, ln net.Listener, o Options) error {
	defer ln.Close()
	return (&server{greeting: o.Greeting}).serve(ctx, ln, o.Loops)
}

// server is what all connections share.
type server struct {
	greeting string // immutable

	mu    sync.Mutex
	block []byte // guarded by mu, its bytes immutable: the frames pushed last, as most clients want the same
	size  int64  // guarded by mu: the payload of those
}

// pushBlock returns the block of frames of size that connections share.
func (s *server) pushBlock(size int64) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.block == nil || s.size != size {
		s.block, s.size = newPushBlock(size), size
	}
	return s.block
}
