package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"sluice/balancer"
	"sluice/handover"
	"sluice/internal/admin"
	"sluice/proxy"
	"sluice/proxy/driver"
	"sluice/tls"
)

// OpenHandover returns the connection to the process that this one is to replace, which the environment names, and removes it from the
// environment. Without one it returns nil.
func OpenHandover() (*handover.Conn, error) {
	text, isThere := os.LookupEnv(handoverVariable)
	_ = os.Unsetenv(handoverVariable)
	if !isThere {
		return nil, nil
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < 0 {
		return nil, fmt.Errorf("%s=%q is no descriptor", handoverVariable, text)
	}
	unix.CloseOnExec(fd)
	file := os.NewFile(uintptr(fd), "handover")
	defer file.Close() // the connection has a duplicate
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("%s=%q: %w", handoverVariable, text, err)
	}
	socket, isUnix := conn.(*net.UnixConn)
	if !isUnix {
		_ = conn.Close()
		return nil, fmt.Errorf("%s=%q is no Unix socket", handoverVariable, text)
	}
	c, err := handover.New(socket, answerPatience)
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%s=%q: %w", handoverVariable, text, err)
	}
	return c, nil
}

// answerPatience is how long the process before may take to read an answer.
const answerPatience = 30 * time.Second

// A predecessor is the process that this one takes over from. New and Run use it one after the other.
type predecessor struct {
	conn    *handover.Conn
	hello   handover.Hello
	sockets []inheritedSocket
	ended   chan struct{} // closed when it has ended
}

// An inheritedSocket is a listening socket of the process before.
type inheritedSocket struct {
	handover.Socket
	listener net.Listener
	isTaken  bool
}

// meet reads what the process before says of itself, and its listening sockets.
func meet(conn *handover.Conn) (*predecessor, error) {
	p := &predecessor{conn: conn, ended: make(chan struct{})}
	fds, err := p.receiveHello()
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		files[i] = os.NewFile(uintptr(fd), "inherited")
		defer files[i].Close() // the listener has a duplicate
	}
	if err != nil {
		return nil, err
	}
	for i, k := range p.hello.Sockets {
		listener, err := net.FileListener(files[i])
		if err != nil {
			p.closeRest(false)
			return nil, fmt.Errorf("socket at %s: %w", k.Address, err)
		}
		p.sockets = append(p.sockets, inheritedSocket{Socket: k, listener: listener})
	}
	return p, nil
}

// receiveHello receives the first message. The descriptors are the caller's, even if there is an error.
func (p *predecessor) receiveHello() (fds []int, err error) {
	kind, message, fds, err := p.conn.Receive(time.Now().Add(answerPatience))
	if err == nil && kind != handover.KindHello {
		err = fmt.Errorf("it begins with message %d, want %d", kind, handover.KindHello)
	}
	if err == nil {
		err = handover.Decode(message, &p.hello, fds...)
	}
	if err != nil {
		return fds, fmt.Errorf("the process before: %w", err)
	}
	return fds, nil
}

// take returns the socket of a listener with that address, which then owns it; nil: there is none. Of several that have port 0 it is that
// with the name.
func (p *predecessor) take(name, address string) net.Listener {
	for i := range p.sockets {
		k := &p.sockets[i]
		if k.isTaken || k.IsAdmin || k.Address != address || k.Name != name && hasPortZero(address) {
			continue
		}
		k.isTaken = true
		if k.IsOwn {
			return proxy.Own{Listener: k.listener}
		}
		return k.listener
	}
	return nil
}

// takeAdmin returns the socket of the admin listener, if it has that address; nil: it has not.
func (p *predecessor) takeAdmin(address string) net.Listener {
	for i := range p.sockets {
		if k := &p.sockets[i]; k.IsAdmin && k.Address == address {
			k.isTaken = true
			return k.listener
		}
	}
	return nil
}

// hasPortZero reports whether the kernel chooses the port of an address.
func hasPortZero(address string) bool {
	_, port, err := net.SplitHostPort(address)
	return err == nil && port == "0"
}

// closeRest closes the sockets that no listener has taken. The files of Unix sockets among them go once the process before has none.
func (p *predecessor) closeRest(removesFiles bool) {
	p.sockets = slices.DeleteFunc(p.sockets, func(k inheritedSocket) bool {
		if k.isTaken {
			return false
		}
		if unix, isUnix := k.listener.(*net.UnixListener); isUnix {
			unix.SetUnlinkOnClose(removesFiles && k.IsOwn)
		}
		_ = k.listener.Close()
		return true
	})
}

// meetBefore reads what the process before says of itself, if there is one.
func (g *Gateway) meetBefore() (err error) {
	if g.options.Handover != nil {
		g.before, err = meet(g.options.Handover)
	}
	return err
}

// newDriver returns the driver that the configuration names. Its instants are those of the process before, if there is one.
func (g *Gateway) newDriver() (driver.Driver, error) {
	name, workers := g.file.Load().Gateway.Driver, setProcs(g.file.Load().Gateway.Workers)
	if g.before == nil {
		return driver.New(name, workers, g.panics.Handler)
	}
	d, err := driver.NewAt(name, workers, g.panics.Handler, g.before.hello.Clock)
	if err != nil {
		return nil, err
	}
	if _, isLoops := d.(*driver.Loops); !isLoops {
		return nil, errors.Join(fmt.Errorf("the driver is to be %s, which can take no sessions over: it needs a restart", name), d.Close(context.Background()))
	}
	return d, nil
}

// stop asks the process before to end what it still has.
func (p *predecessor) stop() {
	if !isDone(p.ended) && p.hello.PID > 0 {
		_ = syscall.Kill(p.hello.PID, syscall.SIGTERM)
	}
}

// beginTakeOver reports to the process before that this one is ready, and goes on with what that says before this one accepts. If that one has
// been killed, its sockets wait for this one.
func (g *Gateway) beginTakeOver() error {
	message, err := g.before.receiveState()
	switch {
	case isOver(err):
		g.log.Warn("the process before has ended, its sockets alone are taken over", zap.Error(err))
		return nil
	case err == nil:
		err = g.restore(message)
	}
	if err != nil {
		return fmt.Errorf("the process before: %w", err)
	}
	return nil
}

// receiveState returns the message that comes once this process is ready.
func (p *predecessor) receiveState() (message []byte, err error) {
	ready := handover.Ready{Form: handover.Form, Build: ReadBuild().String(), PID: os.Getpid()}
	if err := p.conn.Send(handover.KindReady, &ready, nil); err != nil {
		return nil, err
	}
	kind, message, fds, err := p.conn.Receive(time.Time{}) // that one ends this one if it goes on by itself
	handover.CloseAll(fds)
	if err == nil && kind != handover.KindPoolsAndKeys {
		err = fmt.Errorf("it continues with message %d, want %d", kind, handover.KindPoolsAndKeys)
	}
	return message, err
}

// restore goes on with the pools and the ticket keys of the process before.
func (g *Gateway) restore(message []byte) error {
	var state handover.PoolsAndKeys
	if err := handover.Decode(message, &state); err != nil {
		return err
	}
	if len(state.Pools) > 0 {
		var pools []balancer.PoolState
		if err := handover.Decode(state.Pools, &pools); err != nil {
			return err
		}
		g.proxy.RestorePools(pools)
	}
	if len(state.Keys) > 0 {
		var keys map[string]tls.TicketState
		if err := handover.Decode(state.Keys, &keys); err != nil {
			return err
		}
		g.security.restoreTickets(keys)
	}
	return nil
}

// takeOver takes the sessions over that the process before sends, until that has ended. It runs beside everything else, from when this
// process accepts.
func (g *Gateway) takeOver() {
	defer g.older.Store(nil)
	isInCharge := false
	defer func() {
		if !isInCharge { // the process before has ended, and what it has handed over is left to this one
			g.takeCharge()
		}
	}()
	conn := g.before.conn
	defer conn.Close()
	defer close(g.before.ended)
	err := conn.Send(handover.KindStarted, &handover.Started{}, nil)
	for err == nil {
		var kind handover.Kind
		var p []byte
		var fds []int
		if kind, p, fds, err = conn.Receive(time.Time{}); err != nil {
			break
		}
		switch kind {
		case handover.KindSessions:
			err = g.takeSessions(p, fds)
		case handover.KindDone:
			g.takeCharge()
			isInCharge = true
			if err = conn.Send(handover.KindBye, &handover.Bye{}, nil); err == nil {
				g.before.closeRest(true)
			}
		case handover.KindRemaining:
			err = g.noteOlder(p)
		default:
			handover.CloseAll(fds)
			err = fmt.Errorf("unexpected message %d", kind)
		}
	}
	g.before.closeRest(g.before.hasEnded(err))
	if isInCharge && (errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed)) {
		return // the process before, or this one, has ended
	}
	RefuseHandover(conn, err) // that one, if it lives, reports it
	g.log.Error("the hand-over breaks off, this process goes on with what it has", zap.Error(err))
}

// hasEnded reports whether an error of the connection shows that the process before has ended. That nothing can be sent to it doesn't yet: it
// may read no more, and go on by itself.
func (p *predecessor) hasEnded(err error) bool {
	if errors.Is(err, syscall.EPIPE) {
		var fds []int
		_, _, fds, err = p.conn.Receive(time.Now().Add(time.Second))
		handover.CloseAll(fds)
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

// takeCharge makes this process the service's main process.
func (g *Gateway) takeCharge() {
	g.notified(g.options.Notifier.TakenOver("serving"))
	close(g.takenOver)
}

// takeSessions takes a batch over. After an error this process has none of it.
func (g *Gateway) takeSessions(p []byte, fds []int) error {
	var message handover.Sessions
	if err := handover.Decode(p, &message, fds...); err != nil {
		handover.CloseAll(fds)
		return err
	}
	ack := handover.Ack{Why: make([]string, len(message.Sessions))}
	var batch []proxy.SessionState
	var places []int // of the batch, in the message
	for i, p := range message.Sessions {
		var state proxy.SessionState
		if err := handover.Decode(p, &state); err != nil {
			ack.Why[i] = cut(err.Error())
			handover.CloseAll(fds[2*i : 2*i+2])
			continue
		}
		state.FDs = [2]int(fds[2*i : 2*i+2])
		batch, places = append(batch, state), append(places, i)
	}
	why, start, cancel := g.proxy.TakeOver(batch)
	for i, text := range why {
		ack.Why[places[i]] = cut(text)
	}
	// With the answer sent this process is the owner, and not before.
	if err := g.before.conn.Send(handover.KindAck, &ack, nil); err != nil {
		cancel()
		return err
	}
	start()
	return nil
}

// noteOlder keeps what still lives of the processes before this one.
func (g *Gateway) noteOlder(p []byte) error {
	var remaining handover.Remaining
	if err := handover.Decode(p, &remaining); err != nil {
		return err
	}
	older := []admin.Older{{PID: g.before.hello.PID, Sessions: int(remaining.Sessions)}}
	for _, o := range remaining.Older {
		older = append(older, admin.Older{PID: o.PID, Sessions: int(o.Sessions)})
	}
	g.older.Store(&older)
	return nil
}

// RefuseHandover reports to the process before why this one can't take over. Without a connection it does nothing.
func RefuseHandover(conn *handover.Conn, why error) {
	if conn == nil {
		return
	}
	_ = conn.Send(handover.KindFailed, &handover.Failed{Text: cut(why.Error())}, nil) // without it that one sees the end of this one
}

// cut returns a text as a message may have it: in UTF-8, and not too long.
func cut(text string) string { return strings.ToValidUTF8(text[:min(len(text), handover.MaxText)], "") }
