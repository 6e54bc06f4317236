package systemd

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A Notifier tells systemd of the service's state. Immutable; the zero value tells nobody. Its methods may be called from any
// goroutine; an error says that systemd was not told, which is no reason to stop.
type Notifier struct {
	socket   string // empty: nobody listens
	watchdog time.Duration
}

// NewNotifier returns who tells what the environment names, and takes it out of the environment: a process that is started from
// here is not this service.
func NewNotifier() Notifier {
	n := Notifier{socket: os.Getenv("NOTIFY_SOCKET")}
	if pid := os.Getenv("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
		if usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 {
			n.watchdog = time.Duration(usec) * time.Microsecond
		}
	}
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"} {
		_ = os.Unsetenv(name)
	}
	return n
}

// Ready tells that the service serves, after its start or a reload.
func (n Notifier) Ready(status string) error { return n.send("READY=1\nSTATUS=" + status) }

// Reloading tells that a reload has begun; Ready has to follow.
func (n Notifier) Reloading() error {
	// sd_notify(3): the message of a reload carries CLOCK_MONOTONIC, so that systemd can tell it from an earlier one.
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("read the monotonic clock: %w", err)
	}
	return n.send(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000))
}

// Stopping tells that the service ends, within a time that systemd is asked to wait for.
func (n Notifier) Stopping(within time.Duration) error {
	return n.send(fmt.Sprintf("STOPPING=1\nEXTEND_TIMEOUT_USEC=%d", within.Microseconds()))
}

// Alive tells that the service lives. It has to come at least each WatchdogInterval.
func (n Notifier) Alive() error { return n.send("WATCHDOG=1") }

// WatchdogInterval is how long systemd waits for an Alive before it takes the service for hung; 0: it doesn't.
func (n Notifier) WatchdogInterval() time.Duration {
	if n.socket == "" {
		return 0
	}
	return n.watchdog
}

// send writes a message as one datagram.
func (n Notifier) send(message string) error {
	if n.socket == "" {
		return nil
	}
	// Package net knows abstract sockets by the same "@" as systemd.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer conn.Close()
	// systemd that is busy is not waited for.
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte(message)); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}
