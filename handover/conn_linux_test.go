package handover

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sys/unix"
)

const long = 30 * time.Second // bounds a failure

// soon is a deadline that only a failure reaches.
func soon() time.Time { return time.Now().Add(long) }

// pair returns both ends of a connected socket.
func pair(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return unixConn(t, fds[0]), unixConn(t, fds[1])
}

// unixConn makes a connection of a descriptor, which the test closes at its end.
func unixConn(t testing.TB, fd int) *net.UnixConn {
	t.Helper()
	file := os.NewFile(uintptr(fd), "")
	defer file.Close()
	c, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.UnixConn)
}

func newConn(t testing.TB, c *net.UnixConn) *Conn {
	t.Helper()
	conn, err := New(c, long)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// openFDs counts the descriptors of this process. Tests that do so don't run in parallel.
func openFDs(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// pipes returns n descriptors, of which two are a pipe each, and closes them at the end of the test.
func pipes(t testing.TB, n int) (fds []int) {
	t.Helper()
	for range n / 2 {
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		fds = append(fds, p[:]...)
	}
	t.Cleanup(func() { CloseAll(fds) })
	return fds
}

// frame returns a message as it is on the socket.
func frame(size uint32, kind Kind, descriptors uint16, body []byte) []byte {
	p := binary.BigEndian.AppendUint32(nil, size)
	p = binary.BigEndian.AppendUint16(p, uint16(kind))
	p = binary.BigEndian.AppendUint16(p, descriptors)
	return append(p, body...)
}

func TestMessagesArriveWholeAndInOrderWithTheirDescriptors(t *testing.T) {
	a, b := pair(t)
	from, to := newConn(t, a), newConn(t, b)
	fds := pipes(t, 200)
	sent := make(chan error, 1)
	batch := &Sessions{Sessions: raws(100)}
	batch.Sessions[7] = encoded(t, bytes.Repeat([]byte{7}, 8<<20)) // a large queue
	go func() {
		sent <- errors.Join(
			from.Send(KindSessions, batch, fds),
			from.Send(KindRemaining, &Remaining{Sessions: 3}, nil),
			from.Send(KindSessions, &Sessions{Sessions: raws(1)}, fds[2:4]),
			from.Send(KindDone, &Done{}, nil),
		)
	}()
	var got Sessions
	receive(t, to, KindSessions, &got, 200, func(received []int) {
		for i := 0; i < len(received); i += 2 { // each pair is the pipe that it was
			if _, err := unix.Write(received[i+1], []byte{byte(i)}); err != nil {
				t.Fatal(err)
			}
			p := make([]byte, 1)
			if _, err := unix.Read(fds[i], p); err != nil || p[0] != byte(i) {
				t.Fatalf("pipe %d carries %x, %v; want %x", i/2, p, err, byte(i))
			}
		}
	})
	if !slices.EqualFunc(got.Sessions, batch.Sessions, func(a, b cbor.RawMessage) bool { return bytes.Equal(a, b) }) {
		t.Error("the batch isn't what was sent")
	}
	var remaining Remaining
	if receive(t, to, KindRemaining, &remaining, 0, nil); remaining.Sessions != 3 {
		t.Errorf("%d sessions remain; want 3", remaining.Sessions)
	}
	receive(t, to, KindSessions, new(Sessions), 2, nil)
	receive(t, to, KindDone, new(Done), 0, nil)
	if err := <-sent; err != nil {
		t.Error(err)
	}
	if err := from.Close(); err != nil {
		t.Error(err)
	}
	if _, _, _, err := to.Receive(soon()); !errors.Is(err, io.EOF) {
		t.Errorf("after the end Receive returns %v; want io.EOF", err)
	}
}

// receive receives a message of a kind into v. use, if there is one, gets its descriptors, which are then closed.
func receive(t *testing.T, c *Conn, want Kind, v any, descriptors int, use func(fds []int)) {
	t.Helper()
	kind, p, fds, err := c.Receive(soon())
	defer CloseAll(fds)
	if err != nil || kind != want || len(fds) != descriptors {
		t.Fatalf("Receive = kind %d, %d descriptors, %v; want kind %d and %d", kind, len(fds), err, want, descriptors)
	}
	for _, fd := range fds {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Fatalf("descriptor %d has the flags %#x, %v; want it closed on exec", fd, flags, err)
		}
	}
	if err := Decode(p, v, fds...); err != nil {
		t.Fatal(err)
	}
	if use != nil {
		use(fds)
	}
}

func TestMessageOfAnUnknownKindIsSkippedAndItsDescriptorsClosed(t *testing.T) {
	a, b := pair(t)
	from, to := newConn(t, a), newConn(t, b)
	fds := pipes(t, 2)
	before := openFDs(t)
	for _, kind := range []Kind{0, lastKind + 1, 1<<16 - 1} {
		if err := from.Send(kind, map[int]any{1: "whatever"}, fds); err != nil {
			t.Fatal(err)
		}
	}
	if err := from.Send(KindBye, &Bye{}, nil); err != nil {
		t.Fatal(err)
	}
	receive(t, to, KindBye, new(Bye), 0, nil)
	if after := openFDs(t); after != before {
		t.Errorf("%d descriptors are open; want %d as before", after, before)
	}
}

func TestMessageOverItsBoundsIsNotSentAndTheNextOneIs(t *testing.T) {
	a, b := pair(t)
	from, to := newConn(t, a), newConn(t, b)
	fds := pipes(t, MaxDescriptors+2)
	if err := from.Send(KindSessions, &Sessions{Sessions: raws(1)}, fds[:MaxDescriptors+1]); err == nil || !strings.Contains(err.Error(), "251 descriptors") {
		t.Errorf("with 251 descriptors Send returns %v; want an error", err)
	}
	if err := from.Send(KindSessions, make([]byte, MaxBytes), nil); err == nil || !strings.Contains(err.Error(), "at most 16777216") {
		t.Errorf("over 16 MiB Send returns %v; want an error", err)
	}
	if err := from.Send(KindSessions, func() {}, nil); err == nil {
		t.Error("a func is sent")
	}
	if err := from.Send(KindSessions, &Sessions{}, fds[:MaxDescriptors]); err != nil {
		t.Fatal(err)
	}
	_, _, got, err := to.Receive(soon())
	defer CloseAll(got)
	if err != nil || len(got) != MaxDescriptors {
		t.Errorf("Receive = %d descriptors, %v; want %d", len(got), err, MaxDescriptors)
	}
}

func TestWhatIsNoMessageEndsTheConversationAndClosesItsDescriptors(t *testing.T) {
	done := encoded(t, &Done{})
	for _, tt := range []struct {
		name  string
		write func(t *testing.T, c *net.UnixConn, fds []int)
		want  string
	}{
		{"too long", func(t *testing.T, c *net.UnixConn, fds []int) {
			write(t, c, frame(MaxBytes+1, KindDone, 2, nil), fds[:2])
		}, "16777217 bytes"},
		{"longest length", func(t *testing.T, c *net.UnixConn, fds []int) {
			write(t, c, frame(1<<32-1, KindDone, 2, nil), fds[:2])
		}, "4294967295 bytes"},
		{"a descriptor less", func(t *testing.T, c *net.UnixConn, fds []int) {
			write(t, c, frame(1, KindDone, 3, done), fds[:2])
		}, "2 descriptors; 3 were announced"},
		{"a descriptor more", func(t *testing.T, c *net.UnixConn, fds []int) {
			write(t, c, frame(1, KindDone, 1, done), fds[:2])
		}, "2 descriptors; 1 were announced"},
		{"descriptors of which it doesn't speak", func(t *testing.T, c *net.UnixConn, fds []int) {
			write(t, c, frame(1, KindDone, 0, done), fds[:2])
		}, "2 descriptors; 0 were announced"},
		{"as many as the kernel carries", func(t *testing.T, c *net.UnixConn, fds []int) {
			write(t, c, frame(1, KindDone, 253, done), fds[:253])
		}, "over 250 descriptors"},
		{"descriptors with each byte", func(t *testing.T, c *net.UnixConn, fds []int) {
			for _, b := range frame(1, KindDone, 9*100, done) {
				write(t, c, []byte{b}, fds[:100])
			}
		}, "over 250 descriptors"},
		{"end in its header", func(t *testing.T, c *net.UnixConn, fds []int) {
			write(t, c, frame(1, KindDone, 2, nil)[:5], fds[:2])
			_ = c.Close()
		}, "unexpected EOF"},
		{"end after its header", func(t *testing.T, c *net.UnixConn, fds []int) {
			write(t, c, frame(1, KindDone, 2, nil), fds[:2])
			_ = c.Close()
		}, "unexpected EOF"},
		{"end in its body", func(t *testing.T, c *net.UnixConn, fds []int) {
			write(t, c, frame(2, KindDone, 2, done), fds[:2])
			_ = c.Close()
		}, "unexpected EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := pair(t)
			to, fds := newConn(t, b), pipes(t, 254)
			before := openFDs(t)
			tt.write(t, a, fds)
			_, _, got, err := to.Receive(soon())
			if err == nil || !strings.Contains(err.Error(), tt.want) || got != nil {
				t.Errorf("Receive returns %d descriptors, %v; want an error with %q", len(got), err, tt.want)
			}
			if _, _, _, again := to.Receive(soon()); again != err {
				t.Errorf("then Receive returns %v; want the same again", again)
			}
			_, _ = a.Close(), to.Close()
			if after := openFDs(t); after != before-2 {
				t.Errorf("%d descriptors are open; want %d: those before without the two ends", after, before-2)
			}
		})
	}
}

// write writes bytes with descriptors.
func write(t testing.TB, c *net.UnixConn, p []byte, fds []int) {
	t.Helper()
	if n, _, err := c.WriteMsgUnix(p, unix.UnixRights(fds...), nil); err != nil || n != len(p) {
		t.Fatalf("write: %d of %d bytes, %v", n, len(p), err)
	}
}

func TestMessageThatComesByteByByteIsTheSame(t *testing.T) {
	a, b := pair(t)
	to, fds := newConn(t, b), pipes(t, 4)
	body := encoded(t, &Sessions{Sessions: raws(2)})
	go func() {
		for i, c := range frame(uint32(len(body)), KindSessions, 4, body) {
			rights := unix.UnixRights(fds[:0]...)
			if i%3 == 1 && i/3 < 4 { // one descriptor with some of the bytes
				rights = unix.UnixRights(fds[i/3])
			}
			if _, _, err := a.WriteMsgUnix([]byte{c}, rights, nil); err != nil {
				t.Error(err)
			}
		}
	}()
	receive(t, to, KindSessions, new(Sessions), 4, nil)
}

func TestDescriptorsOverTheLimitOfTheProcessAreAnError(t *testing.T) {
	a, b := pair(t)
	from, to := newConn(t, a), newConn(t, b)
	fds := pipes(t, 20)
	if err := from.Send(KindSessions, &Sessions{Sessions: raws(10)}, fds); err != nil {
		t.Fatal(err)
	}
	before := openFDs(t)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	highest := slices.Max(fds)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: uint64(highest + 5), Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	_, _, _, err := to.Receive(soon())
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err == nil || !strings.Contains(err.Error(), "as many as its limit allows") {
		t.Errorf("Receive returns %v; want an error that speaks of the limit", err)
	}
	if after := openFDs(t); after != before {
		t.Errorf("%d descriptors are open; want %d as before", after, before)
	}
}

func TestAfterADeadlineReceiveGoesOnWithWhatHasCome(t *testing.T) {
	a, b := pair(t)
	to, fds := newConn(t, b), pipes(t, 4)
	body := encoded(t, &Sessions{Sessions: raws(2)})
	p := frame(uint32(len(body)), KindSessions, 4, body)
	passes := func() {
		t.Helper()
		if kind, _, got, err := to.Receive(time.Now().Add(time.Millisecond)); !errors.Is(err, os.ErrDeadlineExceeded) || kind != 0 || got != nil {
			t.Fatalf("Receive = kind %d, %d descriptors, %v; want that the deadline has passed", kind, len(got), err)
		}
	}
	passes()
	for i := range p {
		write(t, a, p[i:i+1], fds[min(i, 4):min(i+1, 4)])
		if i < len(p)-1 {
			passes()
		}
	}
	receive(t, to, KindSessions, new(Sessions), 4, nil)
	passes()
}

func TestReceiveAfterCloseReadReturnsWhatWasSentBefore(t *testing.T) {
	a, b := pair(t)
	from, to := newConn(t, a), newConn(t, b)
	if err := from.Send(KindAck, &Ack{Why: make([]string, MaxSessions)}, nil); err != nil {
		t.Fatal(err)
	}
	if err := to.CloseRead(); err != nil {
		t.Fatal(err)
	}
	if err := from.Send(KindBye, &Bye{}, nil); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("Send after CloseRead of the other end returns %v; want EPIPE", err)
	}
	receive(t, to, KindAck, new(Ack), 0, nil)
	if _, _, _, err := to.Receive(soon()); !errors.Is(err, io.EOF) {
		t.Errorf("then Receive returns %v; want io.EOF", err)
	}
}

func TestSendToAProcessThatHangsEndsInTime(t *testing.T) {
	a, _ := pair(t)
	from, err := New(a, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	large := make([]byte, MaxBytes-100)
	if err := from.Send(KindSessions, large, nil); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Send returns %v; want that the deadline has passed", err)
	}
	if err := from.Send(KindBye, &Bye{}, nil); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after a part of a message Send returns %v; want the same again", err)
	}
}

func TestSendToAProcessThatHasEndedFails(t *testing.T) {
	a, b := pair(t)
	from := newConn(t, a)
	_ = b.Close()
	if err := from.Send(KindBye, &Bye{}, nil); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("Send returns %v; want EPIPE", err)
	}
}

func TestProcessOfAnotherUserIsRefused(t *testing.T) {
	a, b := pair(t)
	if err := checkPeer(b, os.Geteuid()+1); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("is of user %d", os.Geteuid())) {
		t.Errorf("a process of this user: %v; want an error, as another one is wanted", err)
	}
	if err := checkPeer(a, os.Geteuid()); err != nil {
		t.Error(err)
	}
	if os.Geteuid() != 0 {
		return // only root can become another user
	}
	const nobody = 65534
	fds := make(chan [2]int)
	go func() {
		runtime.LockOSThread() // it becomes another user alone, and ends with this goroutine
		var fd [2]int
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), nobody, ^uintptr(0)); errno == 0 {
			fd, _ = unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		}
		fds <- fd
	}()
	fd := <-fds
	if fd == [2]int{} {
		t.Fatal("no socket of another user")
	}
	_ = unix.Close(fd[1])
	if _, err := New(unixConn(t, fd[0]), long); err == nil || !strings.Contains(err.Error(), "is of user 65534; only user 0") {
		t.Errorf("New = %v; want an error", err)
	}
}

// FuzzReceive shows that no bytes and descriptors make Receive panic, return what isn't whole, or leave a descriptor open.
func FuzzReceive(f *testing.F) {
	done := encoded(f, &Done{})
	f.Add(frame(1, KindDone, 0, done), byte(0))
	f.Add(slices.Concat(frame(1, KindSessions, 2, done), frame(0, 99, 0, nil), frame(1, KindDone, 0, done)), byte(2))
	f.Add(frame(MaxBytes, KindDone, 2, done), byte(2))
	f.Add(frame(0, KindDone, 1, nil), byte(1))
	f.Fuzz(func(t *testing.T, p []byte, descriptors byte) {
		if len(p) == 0 || len(p) > 32<<10 {
			return // the socket takes it at once
		}
		before := openFDs(t)
		a, b := pair(t)
		to := newConn(t, b)
		fds := slices.Repeat([]int{0}, int(descriptors)%254)
		write(t, a, p, fds)
		_ = a.Close()
		for {
			kind, body, got, err := to.Receive(soon())
			if err != nil {
				break
			}
			if kind == 0 || kind > lastKind || len(body) > len(p)-headerBytes || len(got) > len(fds) {
				t.Errorf("Receive = kind %d, %d bytes, %d descriptors of %x", kind, len(body), len(got), p)
			}
			CloseAll(got)
		}
		_ = to.Close()
		if after := openFDs(t); after != before {
			t.Errorf("%d descriptors are open; want %d as before", after, before)
		}
	})
}

// With it one end decides whether the other has sent its answer.
func TestAfterCloseReadWhatWasSentIsReceivedAndNothingCanBeSent(t *testing.T) {
	a, b := pair(t)
	from, to := newConn(t, a), newConn(t, b)
	why := make([]string, MaxSessions)
	why[7] = "refused"
	if err := from.Send(KindAck, &Ack{Why: why}, nil); err != nil {
		t.Fatal(err)
	}
	if err := to.CloseRead(); err != nil {
		t.Fatal(err)
	}
	if err := from.Send(KindAck, &Ack{Why: why}, nil); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("Send after the other end's CloseRead = %v, want EPIPE", err)
	}
	kind, p, fds, err := to.Receive(soon())
	var ack Ack
	if err != nil || kind != KindAck || Decode(p, &ack, fds...) != nil || !slices.Equal(ack.Why, why) {
		t.Errorf("Receive after CloseRead = %v, %v, %v; want what was sent before", kind, ack, err)
	}
	if _, _, _, err := to.Receive(soon()); !errors.Is(err, io.EOF) {
		t.Errorf("Receive after that = %v, want io.EOF", err)
	}
}
