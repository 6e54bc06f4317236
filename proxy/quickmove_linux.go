package proxy

import (
	"crypto/tls"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"sluice/balancer"
	"sluice/proxy/driver"
	"sluice/proxy/reach"
	"sluice/proxy/relay"
	"sluice/upgrade"
)

// How a handshake moves between a goroutine and a loop.

// goOnLoop gives a handshake whose request was admitted to a loop, which asks a backend for less than a goroutine does; nil: it can't.
// The error is errOnLoop, or errClientLost.
func (h *handshake) goOnLoop() error {
	loops, isLoops := h.proxy.driver.(*driver.Loops)
	if !isLoops || h.proxy.tracer != nil || !loops.CanTake(h.client) {
		return nil
	}
	q := &quick{handshake: *h, loops: loops}
	err := loops.Take(h.client, q, func(w driver.Work) {
		events := uint32(unix.EPOLLIN)
		if q.secured() != nil {
			events = unix.EPOLLRDHUP // what it sends early waits in the socket, and in crypto/tls
		}
		if w.Await(relay.Client, events) != nil {
			q.lose(w)
			return
		}
		q.dial(w)
	})
	if err != nil {
		return errClientLost
	}
	return errOnLoop
}

// secured returns the client's connection if that has TLS, else nil.
func (q *quick) secured() *tls.Conn {
	conn, _ := q.client.(*tls.Conn)
	return conn
}

// leave goes on as an ordinary handshake: on a goroutine, with connections of package net.
func (q *quick) leave(w driver.Work, next func() error) {
	go q.ordinary(w.Release(), next)
}

func (q *quick) ordinary(fds [2]int, next func() error) {
	defer q.proxy.panics.Catch(room, q.broken)
	conns, err := netConns(fds, q.secured() == nil)
	client := conns[relay.Client]
	if err == nil && !q.proxy.handshakes.enter(client) {
		err = net.ErrClosed
	}
	if err != nil {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
		if q.attempt != nil {
			q.attempt.backend.Release(balancer.GatewayFault)
		}
		if reach.IsExhausted(err) {
			q.status = upgrade.ErrLimit.Status
			q.ended(upgrade.ErrLimit)
		} else {
			q.ended(errClientLost)
		}
		q.proxy.memory.Put(q.memory)
		q.listener.done()
		return
	}
	defer q.proxy.handshakes.leave(client)
	if secured := q.secured(); secured != nil {
		driver.Restore(secured, client)
	} else {
		q.client = client
	}
	if q.from.Local == nil {
		q.from.Local = client.LocalAddr()
	}
	if q.attempt != nil && conns[relay.Backend] != nil {
		q.attempt.conn = conns[relay.Backend]
	}
	q.finish(next())
}

// netConns makes connections of package net of descriptors, which it takes; nil for -1. It needs one more descriptor for a moment; a
// client for which there is none is told so, if it isPlain.
func netConns(fds [2]int, isPlain bool) (conns [2]net.Conn, err error) {
	for side, fd := range fds {
		if fd < 0 {
			continue
		}
		f := os.NewFile(uintptr(fd), "")
		c, fileErr := net.FileConn(f)
		if fileErr == nil {
			conns[side] = c
		} else {
			err = fileErr
		}
		if isPlain && reach.IsExhausted(fileErr) && side == int(relay.Client) {
			_, _ = f.Write(upgrade.AppendRejection(nil, upgrade.ErrLimit.RetryAfter(reach.RetryAfter)))
		}
		_ = f.Close()
	}
	return conns, err
}
