package handover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Conn is one end of the conversation. One goroutine at a time may Receive, any may Send. An error ends the conversation, but that of a
// message which is too large, and a deadline of Receive.
type Conn struct {
	conn        *net.UnixConn
	sendTimeout time.Duration

	sending   sync.Mutex // held for a message
	sendError error      // guarded by sending

	// Owned by the goroutine that receives.
	incoming     incoming
	receiveError error
}

// Each message is a header, with which its descriptors come, and its CBOR:
//
//	bytes 0-3: length of the CBOR, big endian
//	bytes 4-5: kind
//	bytes 6-7: number of descriptors
const headerBytes = 8

// New returns the conversation over a connected stream socket whose other end a process of the same user has; the Conn then owns the socket. On
// an error it stays the caller's. A Send may take as long as sendTimeout.
func New(conn *net.UnixConn, sendTimeout time.Duration) (*Conn, error) {
	if err := checkPeer(conn, os.Geteuid()); err != nil {
		return nil, err
	}
	return &Conn{conn: conn, sendTimeout: sendTimeout, incoming: incoming{conn: conn, oob: make([]byte, unix.CmsgSpace(4*mostRights))}}, nil
}

// checkPeer checks that the other end was opened by a process of a user.
func checkPeer(conn *net.UnixConn, uid int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("user of the other process: %w", err)
	}
	var peer *unix.Ucred
	var peerErr error
	err = raw.Control(func(fd uintptr) { peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, peerErr); err != nil {
		return fmt.Errorf("user of the other process: %w", err)
	}
	if int(peer.Uid) != uid {
		return fmt.Errorf("the other process is of user %d; only user %d is allowed", peer.Uid, uid)
	}
	return nil
}

// mostRights is SCM_MAX_FD: the most descriptors of one sendmsg.
const mostRights = 253

// Close ends the conversation. A Receive that waits returns an error; one at least has to return an error if a deadline may have left a part of a
// message, whose descriptors are closed then.
func (c *Conn) Close() error { return c.conn.Close() }

// CloseRead makes every Send of the other process fail that has not sent its message yet. Receive returns what was sent before, and then
// io.EOF.
func (c *Conn) CloseRead() error { return c.conn.CloseRead() }

// Send sends a message. The other process gets duplicates of the descriptors, which stay the caller's. It blocks until the kernel has the
// whole message, for as long as the timeout of New.
func (c *Conn) Send(kind Kind, v any, fds []int) error {
	if err := c.send(kind, v, fds); err != nil {
		return fmt.Errorf("send message %d: %w", kind, err)
	}
	return nil
}

func (c *Conn) send(kind Kind, v any, fds []int) error {
	p, err := Encode(v)
	if err != nil {
		return err
	}
	if len(p) > MaxBytes {
		return fmt.Errorf("it has %d bytes; at most %d are allowed", len(p), MaxBytes)
	}
	if len(fds) > MaxDescriptors {
		return fmt.Errorf("it has %d descriptors; at most %d are allowed", len(fds), MaxDescriptors)
	}
	var header [headerBytes]byte
	binary.BigEndian.PutUint32(header[:], uint32(len(p)))
	binary.BigEndian.PutUint16(header[4:], uint16(kind))
	binary.BigEndian.PutUint16(header[6:], uint16(len(fds)))

	c.sending.Lock()
	defer c.sending.Unlock()
	if c.sendError == nil {
		c.sendError = c.write(header[:], p, fds)
	}
	return c.sendError
}

func (c *Conn) write(header, p []byte, fds []int) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.sendTimeout)); err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	// The kernel takes so much as a whole or not at all: a short message, such as Ack, is never left half sent (CloseRead).
	first := append(header, p[:min(len(p), wholeBytes)]...)
	n, _, err := c.conn.WriteMsgUnix(first, rights, nil)
	if err == nil && n < len(first) {
		err = io.ErrShortWrite
	}
	if err == nil && len(p) > wholeBytes {
		_, err = c.conn.Write(p[wholeBytes:])
	}
	return err
}

// wholeBytes is less than the kernel puts into one buffer of a Unix socket.
const wholeBytes = 16 << 10

// Receive returns the next message of a known kind: its CBOR, for Decode, and its descriptors, which the caller then owns; they are closed
// on exec. Without a whole message until the deadline, the error is os.ErrDeadlineExceeded, and the next Receive goes on with what has come;
// the zero time is no deadline. At the end of the other process's stream the error is io.EOF, or io.ErrUnexpectedEOF inside a message.
func (c *Conn) Receive(deadline time.Time) (kind Kind, p []byte, fds []int, err error) {
	if c.receiveError != nil {
		return 0, nil, nil, c.receiveError
	}
	if err := c.conn.SetReadDeadline(deadline); err != nil {
		return 0, nil, nil, fmt.Errorf("receive a message: %w", err)
	}
	for {
		if kind, p, fds, err = c.incoming.message(); err != nil {
			err = fmt.Errorf("receive a message: %w", err)
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				CloseAll(c.incoming.fds)
				c.receiveError = err
			}
			return 0, nil, nil, err
		}
		if kind > 0 && kind <= lastKind {
			return kind, p, fds, nil
		}
		CloseAll(fds)
	}
}

// CloseAll closes descriptors.
func CloseAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// An incoming message is one of which a part may have come.
type incoming struct {
	conn *net.UnixConn
	oob  []byte

	header [headerBytes]byte
	body   []byte // nil until the header is there
	n      int    // bytes of the header, or then of the body, so far
	fds    []int  // so far
}

// message returns a message once it is whole. An error leaves what has come so far.
func (in *incoming) message() (kind Kind, p []byte, fds []int, err error) {
	if in.body == nil {
		if err := in.fill(in.header[:]); err != nil {
			if errors.Is(err, io.EOF) && in.n > 0 {
				err = io.ErrUnexpectedEOF
			}
			return 0, nil, nil, err
		}
		size := binary.BigEndian.Uint32(in.header[:])
		if size > MaxBytes {
			return 0, nil, nil, fmt.Errorf("it has %d bytes; at most %d are allowed", size, MaxBytes)
		}
		in.body, in.n = make([]byte, size), 0
	}
	if err := in.fill(in.body); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, nil, err
	}
	if count := int(binary.BigEndian.Uint16(in.header[6:])); len(in.fds) != count {
		return 0, nil, nil, fmt.Errorf("it came with %d descriptors; %d were announced", len(in.fds), count)
	}
	kind, p, fds = Kind(binary.BigEndian.Uint16(in.header[4:])), in.body, in.fds
	in.body, in.n, in.fds = nil, 0, nil
	return kind, p, fds, nil
}

// fill reads the rest of p, whose first in.n bytes are there, and collects the descriptors that come.
func (in *incoming) fill(p []byte) error {
	for in.n < len(p) {
		n, oobn, flags, _, err := in.conn.ReadMsgUnix(p[in.n:], in.oob)
		if oobErr := in.collect(in.oob[:max(oobn, 0)]); oobErr != nil {
			return oobErr
		}
		if flags&unix.MSG_CTRUNC != 0 {
			return errors.New("descriptors are missing: it came with too many, or this process has as many as its limit allows")
		}
		if err != nil {
			return err
		}
		in.n += n
	}
	return nil
}

// collect takes the descriptors out of control messages.
func (in *incoming) collect(oob []byte) error {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return fmt.Errorf("control message: %w", err)
	}
	for i := range messages {
		if m := &messages[i]; m.Header.Level == syscall.SOL_SOCKET && m.Header.Type == syscall.SCM_RIGHTS {
			fds, err := unix.ParseUnixRights(m)
			if err != nil {
				return fmt.Errorf("descriptors: %w", err)
			}
			in.fds = append(in.fds, fds...)
		}
	}
	if len(in.fds) > MaxDescriptors {
		return fmt.Errorf("it came with over %d descriptors", MaxDescriptors)
	}
	return nil
}
