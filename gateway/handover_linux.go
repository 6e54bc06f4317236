package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"sluice/handover"
	"sluice/internal/admin"
	"sluice/internal/units"
	"sluice/proxy"
	"sluice/proxy/driver"
)

// handoverVariable names, in the environment of a new process, the descriptor of the socket to the one before it.
const handoverVariable = "SLUICE_HANDOVER"

// Why no new process is started.
var (
	errNoLoops      = errors.New("the driver is not loop: its sessions can't be handed over")
	errNoProgram    = errors.New("the program's file, which would be started anew, is not known")
	errFirstProcess = errors.New("the gateway is the first process of its container, which ends with it: start another container, and drain this one")
)

// A successor is the process to which this one hands over. Owned by one goroutine; its end is noticed by another.
type successor struct {
	cmd     *exec.Cmd
	conn    *handover.Conn
	timeout time.Duration // of each answer
	exited  chan struct{} // closed when the process has ended
	build   string
}

// startSuccessor starts the program anew.
func (g *Gateway) startSuccessor() (*successor, error) {
	if _, isLoops := g.driver.(*driver.Loops); !isLoops {
		return nil, errNoLoops
	}
	if g.options.Successor == nil {
		return nil, errNoProgram
	}
	if os.Getpid() == 1 {
		return nil, errFirstProcess
	}
	own, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	cmd := g.options.Successor()
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Env = append(cmd.Environ(), fmt.Sprintf("%s=%d", handoverVariable, firstExtraFD))
	timeout := g.file.Load().Gateway.HandoverTimeout.Std()
	conn, err := handover.New(own, timeout)
	if err != nil {
		_ = own.Close()
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("start the new process: %w", err)
	}
	s := &successor{cmd: cmd, conn: conn, timeout: timeout, exited: make(chan struct{})}
	go s.wait()
	return s, nil
}

// firstExtraFD is the descriptor of the first of exec.Cmd.ExtraFiles.
const firstExtraFD = 3

// socketPair returns two Unix sockets that are connected with each other.
func socketPair() (own *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("sockets to the new process: %w", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "handover")
	file := os.NewFile(uintptr(fds[0]), "handover")
	defer file.Close() // the connection has a duplicate
	conn, err := net.FileConn(file)
	if err != nil {
		_ = theirs.Close()
		return nil, nil, fmt.Errorf("sockets to the new process: %w", err)
	}
	return conn.(*net.UnixConn), theirs, nil
}

func (s *successor) wait() {
	defer close(s.exited)
	_ = s.cmd.Wait() // ProcessState tells
}

// kill ends the process, and returns when it has ended.
func (s *successor) kill() {
	_ = s.cmd.Process.Kill()
	<-s.exited
	_ = s.conn.Close()
}

// receive waits for the message of that kind, and decodes it into value.
func (s *successor) receive(want handover.Kind, value any) error {
	kind, p, fds, err := s.conn.Receive(time.Now().Add(s.timeout))
	defer handover.CloseAll(fds)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("the new process does not answer within %s (handover_timeout)", units.Duration(s.timeout))
	case err != nil:
		return s.explain(err)
	case kind == handover.KindFailed:
		var failed handover.Failed
		if err := handover.Decode(p, &failed, fds...); err != nil {
			return err
		}
		return fmt.Errorf("the new process refuses: %s", failed.Text)
	case kind != want:
		return fmt.Errorf("the new process answers with message %d, want %d", kind, want)
	}
	return handover.Decode(p, value, fds...)
}

// explain returns an error of the connection with how the process has ended, if it has.
func (s *successor) explain(err error) error {
	if isOver(err) {
		select {
		case <-s.exited:
			text := "the new process has ended: " + s.cmd.ProcessState.String()
			if s.cmd.ProcessState.ExitCode() > 0 {
				text += "; its standard error has the reason"
			}
			return errors.New(text)
		case <-time.After(time.Second):
		}
	}
	return fmt.Errorf("connection to the new process: %w", err)
}

// isOver reports whether an error of the conversation is that the other process has ended.
func isOver(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// handOver is Upgrade once it may begin. The caller holds upgrading and reloading.
func (g *Gateway) handOver(ctx context.Context) (*admin.Upgraded, error) {
	s, err := g.startSuccessor()
	if err != nil {
		return nil, err
	}
	isInCharge := true // this process serves
	stopKilling := context.AfterFunc(ctx, func() { _ = s.cmd.Process.Kill() })
	resume := func() {}
	defer func() {
		if isInCharge { // there is an error, or it panicked
			s.kill()
			resume()
		}
	}()
	g.log.Info("upgrade begins", zap.Int("pid", s.cmd.Process.Pid), zap.String("program", s.cmd.Path))
	if err := g.introduce(s); err != nil {
		return nil, err
	}
	begin := time.Now()
	resume = g.pauseAccepting()
	if err := g.sendState(s); err != nil {
		return nil, err
	}
	if err := s.receive(handover.KindStarted, new(handover.Started)); err != nil {
		return nil, err
	}
	if !stopKilling() { // ctx has ended
		return nil, context.Cause(ctx)
	}
	t := transfer{successor: s, log: g.log, last: time.Now()}
	if err := t.run(g.proxy); err != nil {
		return nil, t.failed(err)
	}
	if err := t.finish(); err != nil {
		g.notified(g.options.Notifier.TakenOver("serving")) // the new process may have said so
		return nil, t.failed(err)
	}
	isInCharge = false
	g.successor = s
	close(g.handedOver)
	return &admin.Upgraded{
		PID: s.cmd.Process.Pid, Build: s.build, Moved: t.moved, Stayed: t.stayed, Seconds: time.Since(begin).Seconds(), LongestPause: t.longest.Seconds(),
	}, nil
}

// introduce sends the new process the listening sockets, and waits until it is ready.
func (g *Gateway) introduce(s *successor) error {
	hello := handover.Hello{Form: handover.Form, Build: ReadBuild().String(), PID: os.Getpid(), Clock: g.driver.(*driver.Loops).Clock()}
	var fds []int
	defer func() { handover.CloseAll(fds) }()
	add := func(k handover.Socket, open func() (*os.File, error)) error {
		fd, err := duplicate(open)
		if err != nil {
			return fmt.Errorf("socket at %s: %w", k.Address, err)
		}
		fds = append(fds, fd)
		hello.Sockets = append(hello.Sockets, k)
		return nil
	}
	for _, k := range g.proxy.Sockets() {
		if err := add(handover.Socket{Name: k.Name, Address: k.Address, IsOwn: !k.IsInherited}, k.File); err != nil {
			return err
		}
	}
	if g.admin != nil {
		if err := add(handover.Socket{Address: g.startFile.Admin.Address, IsOwn: true, IsAdmin: true}, g.admin.File); err != nil {
			return err
		}
	}
	if err := s.conn.Send(handover.KindHello, &hello, fds); err != nil {
		return s.explain(err)
	}
	var ready handover.Ready
	if err := s.receive(handover.KindReady, &ready); err != nil {
		return err
	}
	s.build = ready.Build
	return nil
}

// sendState sends what the new process needs before it accepts. Accepting must be paused.
func (g *Gateway) sendState(s *successor) (err error) {
	var state handover.PoolsAndKeys
	if state.Pools, err = handover.Encode(g.proxy.PoolStates()); err != nil {
		return err
	}
	if state.Keys, err = handover.Encode(g.security.ticketStates()); err != nil {
		return err
	}
	if err := s.conn.Send(handover.KindPoolsAndKeys, &state, nil); err != nil {
		return s.explain(err)
	}
	return nil
}

// duplicate returns a duplicate of the descriptor of a file. os.File.Fd would make the socket a blocking one, and with it those of the
// event loops, which are the same.
func duplicate(open func() (*os.File, error)) (fd int, err error) {
	file, err := open()
	if err != nil {
		return -1, err
	}
	defer file.Close()
	raw, err := file.SyscallConn()
	if err != nil {
		return -1, err
	}
	if errControl := raw.Control(func(of uintptr) { fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) }); errControl != nil {
		return -1, errControl
	}
	return fd, err
}

// pauseAccepting makes connections wait in the listening sockets, until resume is called.
func (g *Gateway) pauseAccepting() (resume func()) {
	resumeProxy, resumeAdmin := g.proxy.PauseAccepting(), func() {}
	if g.admin != nil {
		resumeAdmin = g.admin.PauseAccepting()
	}
	return func() {
		resumeProxy()
		resumeAdmin()
	}
}

// A transfer is the move of sessions to another process. Owned by one goroutine.
type transfer struct {
	*successor
	log     *zap.Logger
	moved   int
	stayed  map[string]int
	last    time.Time // when the last batch was over
	longest time.Duration
}

// handshakePatience is how long an upgrade waits for handshakes under way to become sessions, which can move.
const handshakePatience = time.Second

// run moves the sessions that can move. Accepting must be paused.
func (t *transfer) run(p *proxy.Proxy) error {
	for until := time.Now().Add(handshakePatience); ; time.Sleep(10 * time.Millisecond) {
		moved, stayed, err := p.HandOver(context.Background(), t.send)
		t.moved += moved
		t.stayed = stayed
		if err != nil || stayed["handshake"] == 0 || time.Now().After(until) {
			return err
		}
		t.last = time.Now()
	}
}

// send hands a batch over. After an error the new process has none of it.
func (t *transfer) send(batch []proxy.SessionState) (taken []bool, err error) {
	defer func() {
		t.longest = max(t.longest, time.Since(t.last))
		t.last = time.Now()
	}()
	ack, err := t.exchange(batch)
	if err != nil {
		return nil, err
	}
	texts := map[string]int{}
	for _, why := range ack.Why {
		taken = append(taken, why == "")
		if why != "" {
			texts[why]++
		}
	}
	for why, n := range texts {
		t.log.Warn("the new process refuses sessions, which stay", zap.Int("sessions", n), zap.String("reason", why))
	}
	return taken, nil
}

// exchange sends a batch and waits for the answer.
func (t *transfer) exchange(batch []proxy.SessionState) (*handover.Ack, error) {
	var message handover.Sessions
	var fds []int
	for i := range batch {
		p, err := handover.Encode(&batch[i])
		if err != nil {
			return nil, err
		}
		message.Sessions = append(message.Sessions, p)
		fds = append(fds, batch[i].FDs[:]...)
	}
	if err := t.conn.Send(handover.KindSessions, &message, fds); err != nil {
		return nil, t.explain(err)
	}
	ack := new(handover.Ack)
	if err := t.receive(handover.KindAck, ack); err != nil {
		// What decides is whether the new process could send its answer. From here on it can't.
		_ = t.conn.CloseRead()
		if t.receive(handover.KindAck, ack) != nil {
			return nil, err
		}
	}
	if len(ack.Why) != len(batch) {
		return nil, fmt.Errorf("the new process answers for %d sessions of %d", len(ack.Why), len(batch))
	}
	return ack, nil
}

// finish tells the new process that it has all, and waits until it is in charge.
func (t *transfer) finish() error {
	if err := t.conn.Send(handover.KindDone, &handover.Done{}, nil); err != nil {
		return t.explain(err)
	}
	return t.receive(handover.KindBye, new(handover.Bye))
}

// failed returns the error of an upgrade that failed after sessions had moved.
func (t *transfer) failed(err error) error {
	if t.moved == 0 {
		return err
	}
	return fmt.Errorf("%w; %d sessions had moved, and ended with the new process", err, t.moved)
}

// olderInterval is how often a process that has handed over looks for sessions that can move by now, and tells the new one what it has.
const olderInterval = time.Second

// retire keeps what could not move until it ends, or drain is over, or ctx has ended. Sessions that can move by now follow the others.
func (g *Gateway) retire(ctx context.Context) {
	g.reloading.Lock()
	drain := g.file.Load().Gateway.Drain.Std()
	g.watch.set(false)
	g.reloading.Unlock()
	g.watch.wait()
	limit, stop := context.WithTimeout(ctx, drain)
	defer stop()
	g.proxy.StopAccepting()
	g.security.close()
	g.panics.Guard(room, g.follow)
	if g.admin != nil {
		// Not after the drain: the new process answers. The answer of the upgrade itself is under way.
		if err := g.endAdmin(5 * time.Second); err != nil {
			g.log.Warn("admin requests are cut", zap.Error(err))
		}
	}
	ticker := time.NewTicker(olderInterval)
	defer ticker.Stop()
	for !g.isAlone() && limit.Err() == nil {
		g.panics.Guard(room, g.follow)
		select {
		case <-ticker.C:
		case <-limit.Done():
		}
	}
	if ctx.Err() != nil && g.before != nil {
		g.before.stop()
	}
	g.proxy.Shutdown(context.Background(), 0, 0)
	_ = g.successor.conn.Close()
}

// isAlone reports whether nothing is left here, and no process before this one lives.
func (g *Gateway) isAlone() bool {
	return g.proxy.IsEmpty() && (g.before == nil || isDone(g.before.ended))
}

// follow moves the sessions that can move by now, and tells the new process what is left.
func (g *Gateway) follow() {
	s := g.successor
	if isDone(s.exited) {
		return
	}
	t := transfer{successor: s, log: g.log}
	if _, _, err := g.proxy.HandOver(context.Background(), t.send); err != nil {
		g.log.Debug("sessions stay", zap.Error(err))
	}
	_ = s.conn.Send(handover.KindRemaining, g.remaining(), nil) // fails only if the new process has ended
}

// remaining returns what lives here and in processes before this one.
func (g *Gateway) remaining() *handover.Remaining {
	r := &handover.Remaining{Sessions: int64(g.proxy.Sessions().Count())}
	for _, o := range g.olderProcesses() {
		r.Older = append(r.Older, handover.Process{PID: o.PID, Sessions: int64(o.Sessions)})
	}
	return r
}

// stop asks the new process to stop.
func (s *successor) stop() { _ = s.cmd.Process.Signal(syscall.SIGTERM) }
