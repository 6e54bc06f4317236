package driver

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/proxy/relay"
)

// Small messages must not wait for the acknowledgement of the one before (RFC 896), and no connection should cost a system call for that.
func TestWhatALoopAcceptsSendsAtOnce(t *testing.T) {
	d, err := NewLoops(1, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close(t.Context())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	Tune(ln)
	noDelay := make(chan int, 1)
	stop, err := d.Accept(ln.(*net.TCPListener), func(w Work, _ netip.AddrPort) Task {
		value, err := unix.GetsockoptInt(w.FD(relay.Client), unix.IPPROTO_TCP, unix.TCP_NODELAY)
		if err != nil {
			value = -1
		}
		noDelay <- value
		w.Drop()
		return nil
	}, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := <-noDelay; got != 1 {
		t.Errorf("TCP_NODELAY is %d, want 1", got)
	}
}
