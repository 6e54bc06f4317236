package systemd

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A Notifier reports the service's state to systemd. Immutable; the zero value reports nothing. Its methods are safe for concurrent
// use and block for a second at most. An error means that systemd did not get the state, which is no reason to stop.
type Notifier struct {
	socket   string // empty: no systemd listens
	watchdog time.Duration
}

// NewNotifier returns the Notifier that the environment describes, and removes the variables from the environment: processes that this
// one starts are not the service.
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

// Ready reports that the service is serving, after its start or a reload, with a status line for people.
func (n Notifier) Ready(status string) error { return n.send("READY=1\nSTATUS=" + status) }

// Reloading reports that a reload has begun. Ready must follow.
func (n Notifier) Reloading() error {
	// sd_notify(3): the message of a reload carries CLOCK_MONOTONIC, so that systemd can distinguish it from an earlier one.
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("read the monotonic clock: %w", err)
	}
	return n.send(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/1000))
}

// Stopping reports that the service is stopping, and asks systemd to wait for the given time.
func (n Notifier) Stopping(within time.Duration) error {
	return n.send(fmt.Sprintf("STOPPING=1\nEXTEND_TIMEOUT_USEC=%d", within.Microseconds()))
}

// Alive resets systemd's watchdog. It must be called at least once per WatchdogInterval.
func (n Notifier) Alive() error { return n.send("WATCHDOG=1") }

// WatchdogInterval returns the time without an Alive after which systemd treats the service as hung. 0 means that it has no watchdog.
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
	// A busy systemd must not block the service.
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte(message)); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}
