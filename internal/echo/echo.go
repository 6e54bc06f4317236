package echo

import (
	"context"
	"net"
	"sync"
	"time"
)

// Bounds on what a peer may cost.
const (
	maxHeadBytes   = 16 << 10
	headTimeout    = 10 * time.Second
	maxQueue       = 64 << 10  // queued output at which reading stops
	maxPushSize    = 1 << 30   // payload of one pushed message
	maxLingerBytes = 256 << 10 // input discarded after the last byte, so that the peer can read that
	lingerTimeout  = time.Second
)

// Options configure a server. The zero value is ready for use.
type Options struct {
	Greeting string // a text message sent at open, UTF-8; "": none
	Loops    int    // epoll loops (Linux); 0: as many as GOMAXPROCS
}

// Serve serves ln and blocks until ctx ends. Then it closes every connection with 1001, closes ln, and returns nil. After a failure of ln
// or of a loop it does the same and returns the failure.
func Serve(ctx context.Context, ln net.Listener, o Options) error {
	defer ln.Close()
	return (&server{greeting: o.Greeting}).serve(ctx, ln, o.Loops)
}

// server is the state that all connections share.
type server struct {
	greeting string // immutable

	mu    sync.Mutex
	block []byte // guarded by mu, its bytes immutable: the last pushed frames, since most clients request the same
	size  int64  // guarded by mu: their payload
}

// pushBlock returns the block of frames with size bytes of payload, which connections share.
func (s *server) pushBlock(size int64) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.block == nil || s.size != size {
		s.block, s.size = newPushBlock(size), size
	}
	return s.block
}
