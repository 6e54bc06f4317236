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

// maxEvents bounds a turn, so that commands and timers of a busy loop get theirs.
const maxEvents = 256

// The poller's own registrations. No caller may use these as data.
const (
	wakeData  = ^uint64(0)
	timerData = ^uint64(1)
)

// Event is what epoll reports of one file descriptor.
type Event unix.EpollEvent

// Data returns what Add or Mod gave the file descriptor.
func (e *Event) Data() uint64 { return uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32 }

func (e *Event) setData(data uint64) { e.Fd, e.Pad = int32(uint32(data)), int32(uint32(data>>32)) }

// Poller is an epoll instance with a deadline and a wake-up. All but Wake belongs to one goroutine, the owner.
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

	isWoken atomic.Bool // a wake-up is on its way: another write would tell nothing new

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

// Close frees the poller's own file descriptors; those that were added are their owners'. A Wake after it does nothing.
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

// Add registers fd for events (unix.EPOLLIN, …; level-triggered unless EPOLLET is among them). data comes back with each of its
// events; the two highest values are taken.
func (p *Poller) Add(fd int, events uint32, data uint64) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, events, data)
}

// Mod changes what Add registered.
func (p *Poller) Mod(fd int, events uint32, data uint64) error {
	return p.control(unix.EPOLL_CTL_MOD, fd, events, data)
}

// Del ends the registration of fd. The last close of the socket does that too, but not the close of a descriptor that has a duplicate.
func (p *Poller) Del(fd int) error { return p.control(unix.EPOLL_CTL_DEL, fd, 0, 0) }

func (p *Poller) control(op, fd int, events uint32, data uint64) error {
	e := Event{Events: events}
	e.setData(data)
	if errno := epollCtl(p.fd, op, fd, &e); errno != 0 {
		return errno
	}
	return nil
}

// Wait returns the events that are there, at most 256, or parks the goroutine until there are some, the deadline passes or Wake
// is called; the latter two return with no events where there are none. A zero deadline is none; one that has passed returns
// at once. The slice is valid until the next Wait. It doesn't allocate.
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

// setTimer sets the deadline by a timerfd: a deadline of the runtime's poller is kept to the millisecond only, and fires late.
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
			// Cleared before the caller looks at its commands: one that comes after that look wakes again.
			p.isWoken.Store(false)
		case timerData:
			// The same deadline passed again must return at once, so the timer has to be set anew.
			p.deadline = time.Time{}.Add(1)
		default:
			p.events[p.n] = e
			p.n++
		}
	}
	return n > 0
}

// Wake makes the present Wait, or the next one, return. Any goroutine may call it, at any time; calls between two Waits count once.
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
	// An eventfd refuses only at 2^64-1 wake-ups.
	_, _ = unix.Write(p.wakeFD, one[:])
}
