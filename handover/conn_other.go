//go:build !linux

package handover

import (
	"errors"
	"net"
	"time"
)

// A Conn is one end of the conversation, which is for Linux alone.
type Conn struct{}

var errLinux = errors.New("only Linux has the hand-over")

// New returns an error.
func New(*net.UnixConn, time.Duration) (*Conn, error) { return nil, errLinux }

// Close returns an error.
func (*Conn) Close() error { return errLinux }

// CloseRead returns an error.
func (*Conn) CloseRead() error { return errLinux }

// Send returns an error.
func (*Conn) Send(Kind, any, []int) error { return errLinux }

// Receive returns an error.
func (*Conn) Receive(time.Time) (Kind, []byte, []int, error) { return 0, nil, nil, errLinux }

// CloseAll does nothing: no descriptors come.
func CloseAll([]int) {}
