package systemd

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// A Notifier notifies systemd of the service's state. Immutable; the zero value notifies nothing. Its methods may be called from any
// goroutine. Their error means that systemd was not notified, which is no reason to stop.
type Notifier struct {
	socket   string // empty: there is none
	watchdog time.Duration
	removed  []string // from the environment: what a process needs that takes the service over, as "NAME=value"
}

// NewNotifier returns a Notifier for the socket that the environment names, and removes it from the environment: a process that is
// started from here is not this service.
func NewNotifier() Notifier {
	n := Notifier{socket: os.Getenv("NOTIFY_SOCKET")}
	if pid := os.Getenv("WATCHDOG_PID"); pid == "" || pid == strconv.Itoa(os.Getpid()) {
		if usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil && usec > 0 {
			n.watchdog = time.Duration(usec) * time.Microsecond
		}
	}
	if n.socket != "" {
		n.removed = append(n.removed, "NOTIFY_SOCKET="+n.socket)
	}
	if n.watchdog > 0 {
		// Without WATCHDOG_PID, which is of one process: sd_watchdog_enabled(3).
		n.removed = append(n.removed, "WATCHDOG_USEC="+strconv.FormatInt(n.watchdog.Microseconds(), 10))
	}
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"} {
		_ = os.Unsetenv(name)
	}
	return n
}

// Environment returns what NewNotifier has removed from the environment, as "NAME=value", for a process that takes the service over.
func (n Notifier) Environment() []string { return n.removed }

// TakenOver reports that this process, which the service's main process has started, is the main process from now on, and ready. systemd
// accepts it from that process only with NotifyAccess=all.
func (n Notifier) TakenOver(status string) error {
	return n.send(fmt.Sprintf("MAINPID=%d\nREADY=1\nSTATUS=%s", os.Getpid(), status))
}

// Ready reports that the service is ready, after its start or a reload.
func (n Notifier) Ready(status string) error { return n.send("READY=1\nSTATUS=" + status) }

// Reloading reports that a reload has begun; Ready has to follow.
func (n Notifier) Reloading() error {
	if n.socket == "" {
		return nil
	}
	// sd_notify(3): the message of a reload carries CLOCK_MONOTONIC, so that systemd can distinguish it from an earlier one.
	now, err := monotonic()
	if err != nil {
		return err
	}
	return n.send(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Microseconds()))
}

// Stopping reports that the service ends within a time, and asks systemd to wait that long.
func (n Notifier) Stopping(within time.Duration) error {
	return n.send(fmt.Sprintf("STOPPING=1\nEXTEND_TIMEOUT_USEC=%d", within.Microseconds()))
}

// Alive reports that the service is alive. It has to be called at least once per WatchdogInterval.
func (n Notifier) Alive() error { return n.send("WATCHDOG=1") }

// WatchdogInterval returns how long systemd waits for Alive before it treats the service as hung. 0 means that it waits without end.
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
	// The service does not wait for a busy systemd.
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte(message)); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}
