package admin

import (
	"net"
	"testing"
	"time"
)

func TestAPausedListenerLosesNoConnection(t *testing.T) {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newPausableListener(socket.(*net.TCPListener))
	accepted := make(chan net.Conn)
	go func() {
		defer close(accepted)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	dial()
	_ = (<-accepted).Close()

	resume := l.pause()
	waiting := dial()
	select {
	case <-accepted:
		t.Fatal("a paused listener accepts")
	case <-time.After(50 * time.Millisecond):
	}
	resume()
	conn := <-accepted
	if got, want := conn.RemoteAddr().String(), waiting.LocalAddr().String(); got != want {
		t.Errorf("accepted %s, want %s, which waited", got, want)
	}
	_ = conn.Close()

	l.pause()
	_ = l.Close()
	if _, isOpen := <-accepted; isOpen {
		t.Error("a closed listener accepts")
	}
}
