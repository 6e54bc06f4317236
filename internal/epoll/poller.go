//go:build linux

package epoll

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxEvents bounds the events of one Wait, so that commands and timers of a busy loop are not delayed.
const maxEvents = 256

// The data of the poller's own registrations. Callers must not use these.
const (
	wakeData  = ^uint64(0)
	timerData = ^uint64(1)
)

// Event is what epoll reports of one file descriptor.
type Event unix.EpollEvent

// Data returns the data that Add or Mod gave the file descriptor.
func (e *Event) Data() uint64 { return uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32 }

func (e *Event) setData(data uint64) { e.Fd, e.Pad = int32(uint32(data)), int32(uint32(data>>32)) }

// Poller is an epoll instance with a deadline and a wake-up. Only one goroutine, the owner, may call its methods, except Wake.
type Poller struct {
	fd      int      // the epoll instance; file closes it
	file    *os.File // holds fd in the runtime's poller
	raw     syscall.RawConn
	harvest func(uintptr) bool // p.poll, made once: a method value is an allocation
	timerFD int

	deadline time.Time // what timerFD is set to
	events   [maxEvents]Event
	n        int
	err      error

	isWoken atomic.Bool // a wake-up is pending: another write would change nothing

	mu     sync.Mutex
	wakeFD int // guarded by mu; -1 once closed
}

// New returns a Poller, which its owner must Close.
func New() (*Poller, error) {
	p := &Poller{wakeFD: -1, timerFD: -1}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll instance: %w", err)
	}
	p.fd = fd
	// os.NewFile gives only a non-blocking file descriptor to the runtime's poller.
	err = unix.SetNonblock(fd, true)
	p.file = os.NewFile(uintptr(fd), "epoll")
	if err == nil {
		p.raw, err = p.file.SyscallConn()
	}
	if err == nil {
		p.wakeFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	}
	if err == nil {
		p.timerFD, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	}
	// Edge-triggered: each write or expiry is reported once, and neither has to be read.
	if err == nil {
		err = p.Add(p.wakeFD, unix.EPOLLIN|unix.EPOLLET, wakeData)
	}
	if err == nil {
		err = p.Add(p.timerFD, unix.EPOLLIN|unix.EPOLLET, timerData)
	}
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("set up epoll instance: %w", err)
	}
	p.harvest = p.poll
	return p, nil
}

// Close closes the poller's own file descriptors, and none that was added. A Wake after it does nothing.
func (p *Poller) Close() {
	p.mu.Lock()
	wakeFD := p.wakeFD
	p.wakeFD = -1
	p.mu.Unlock()
	_ = p.file.Close()
	for _, fd := range [...]int{wakeFD, p.timerFD} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// Add registers fd for events (unix.EPOLLIN, …; level-triggered unless EPOLLET is among them). Each of its events has data, which
// must not be one of the two highest values.
func (p *Poller) Add(fd int, events uint32, data uint64) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, events, data)
}

// Mod changes the events and the data of a registered fd.
func (p *Poller) Mod(fd int, events uint32, data uint64) error {
	return p.control(unix.EPOLL_CTL_MOD, fd, events, data)
}

// Del ends the registration of fd. So does the last close of the socket, but not the close of a descriptor that has a duplicate.
func (p *Poller) Del(fd int) error { return p.control(unix.EPOLL_CTL_DEL, fd, 0, 0) }

func (p *Poller) control(op, fd int, events uint32, data uint64) error {
	e := Event{Events: events}
	e.setData(data)
	if errno := epollCtl(p.fd, op, fd, &e); errno != 0 {
		return errno
	}
	return nil
}

// Wait returns the events that are ready, at most 256. If none is, it parks the goroutine until some are, the deadline passes or
// Wake is called; in the latter two cases the slice may be empty. A zero deadline means none, and Wait returns at once if the deadline
// has passed. The slice is valid until the next Wait. It does not allocate.
func (p *Poller) Wait(deadline time.Time) ([]Event, error) {
	if deadline != p.deadline {
		if err := p.setTimer(deadline); err != nil {
			return nil, fmt.Errorf("set the poller's timer: %w", err)
		}
	}
	p.n, p.err = 0, nil
	if err := p.raw.Read(p.harvest); err != nil {
		return nil, fmt.Errorf("wait for events: %w", err)
	}
	if p.err != nil {
		return nil, fmt.Errorf("wait for events: %w", p.err)
	}
	return p.events[:p.n], nil
}

// setTimer sets the deadline by a timerfd. A deadline of the runtime's poller has a resolution of a millisecond and fires late.
func (p *Poller) setTimer(deadline time.Time) error {
	var t unix.ItimerSpec
	if !deadline.IsZero() {
		t.Value = unix.NsecToTimespec(max(1, int64(time.Until(deadline)))) // 0 would disarm it
	}
	if errno := timerfdSettime(p.timerFD, &t); errno != 0 {
		return errno
	}
	p.deadline = deadline
	return nil
}

// poll asks for events without waiting and reports whether Wait is done.
func (p *Poller) poll(uintptr) bool {
	n, errno := epollWait(p.fd, &p.events)
	for errno == unix.EINTR {
		n, errno = epollWait(p.fd, &p.events)
	}
	if errno != 0 {
		p.err = errno
		return true
	}
	for i := range n {
		e := p.events[i]
		switch e.Data() {
		case wakeData:
			// Cleared before the caller handles its commands, so that a later command wakes it again.
			p.isWoken.Store(false)
		case timerData:
			// A Wait with the same deadline must return at once, so the timer has to be set again.
			p.deadline = time.Time{}.Add(1)
		default:
			p.events[p.n] = e
			p.n++
		}
	}
	return n > 0
}

// Wake makes the current Wait, or the next one, return. Any goroutine may call it at any time. Several calls between two Waits count
// as one.
func (p *Poller) Wake() {
	if p.isWoken.Swap(true) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wakeFD < 0 {
		return
	}
	one := [8]byte{1}
	// A write to an eventfd fails only at 2^64-1 wake-ups.
	_, _ = unix.Write(p.wakeFD, one[:])
}
