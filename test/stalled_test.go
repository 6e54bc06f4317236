//go:build linux

package test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// small keeps the kernel's buffers of a socket of the test small, so that what a stalled session holds is the gateway's.
func small(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10)
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, 16<<10)
	})
}

// listenPusher is a backend that sends frames of size bytes for as long as its peer takes them, over TLS if config isn't nil. It returns
// its address.
func listenPusher(t *testing.T, size int, config *tls.Config) string {
	t.Helper()
	ln, err := (&net.ListenConfig{Control: small}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	frame := binary.BigEndian.AppendUint64([]byte{0x82, 127}, uint64(size))
	if size <= 0xffff {
		frame = binary.BigEndian.AppendUint16([]byte{0x82, 126}, uint16(size))
	}
	frame = append(frame, make([]byte, size)...)
	frames := bytes.Repeat(frame, max(1, 32<<10/size))
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if config != nil {
				c = tls.Server(c, config)
			}
			go push(c, frames)
		}
	}()
	return ln.Addr().String()
}

// push answers a handshake and sends frames until the connection ends.
func push(c net.Conn, frames []byte) {
	defer c.Close()
	request, err := http.ReadRequest(bufio.NewReaderSize(c, 1<<10))
	if err != nil {
		return
	}
	_, err = fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		acceptOf(request.Header.Get("Sec-WebSocket-Key")))
	for err == nil {
		_, err = c.Write(frames)
	}
}

// sendQueues returns how many bytes the kernel holds to be sent by the connections of a local address.
func sendQueues(t *testing.T, address string) (sum int64) {
	t.Helper()
	_, portText, _ := net.SplitHostPort(address)
	port, _ := strconv.Atoi(portText)
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line) // sl, local address, remote address, state, tx_queue:rx_queue, …
		const established = "01"
		if len(fields) < 5 || !strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) || fields[3] != established {
			continue
		}
		queue, _, _ := strings.Cut(fields[4], ":")
		n, err := strconv.ParseInt(queue, 16, 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		sum += n
	}
	return sum
}

// Faults C8.
func TestScenarioReadersThatNeverReadTakeBoundedMemoryAndGiveItBack(t *testing.T) {
	const perSession, perSocket = 384 << 10, 192 << 10 // docs/sizing.md
	sessions := sized(2000, 100)
	ca := newAuthority(t, t.TempDir(), "authority")
	site := ca.issue(t, "site")
	for _, kind := range []struct {
		name  string
		size  int
		isTLS bool
	}{{"frames of 1 KiB", 1 << 10, false}, {"frames of 1 MiB", 1 << 20, false}, {"frames of 20 KiB over TLS", 20 << 10, true}} {
		t.Run(kind.name, func(t *testing.T) {
			var config string
			if kind.isTLS {
				address := listenPusher(t, kind.size, &tls.Config{Certificates: []tls.Certificate{*site.certificate()}})
				config = basics + section("", site) + poolAt("wss://"+address) + fmt.Sprintf("[pool.tls]\nca = %q\n", ca.cert)
			} else {
				config = basics + poolAt(listenPusher(t, kind.size, nil))
			}
			g := runGateway(t, config)
			before := g.measure(t)
			dialer := net.Dialer{Control: small, Timeout: patience}
			clients := make([]net.Conn, sessions)
			for i := range clients {
				c, err := dialer.DialContext(context.Background(), "tcp", g.listeners["public"])
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = c.Close() })
				clients[i] = c
				if kind.isTLS {
					c = tls.Client(c, &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"})
				}
				if _, err := io.WriteString(c, request("/")); err != nil {
					t.Fatal(err)
				}
			}
			queued := 0
			eventually(t, 3*patience, "all sessions stand still", func() bool {
				last := queued
				queued = g.count(t, "sluice_queued_bytes")
				time.Sleep(200 * time.Millisecond)
				return queued == last && g.count(t, "sluice_sessions_active") == sessions
			})
			during := g.measure(t)
			inKernel := sendQueues(t, g.listeners["public"])
			t.Logf("%d sessions: %d MiB queued, %d MiB in the kernel's queues, resident %d MiB, before %d MiB",
				sessions, queued>>20, inKernel>>20, during.residentMiB, before.residentMiB)
			if inKernel > int64(sessions)*perSocket {
				t.Errorf("%d bytes in the kernel's queues; want %d at most", inKernel, sessions*perSocket)
			}
			if limit := before.residentMiB + sessions*perSession>>20 + 32; during.residentMiB > limit {
				t.Errorf("resident memory %d MiB; want %d at most", during.residentMiB, limit)
			}
			for _, c := range clients {
				_ = c.Close()
			}
			gone := time.Now()
			eventually(t, 3*patience, "the memory is given back", func() bool {
				time.Sleep(time.Second)
				return g.measure(t).residentMiB <= before.residentMiB+32
			})
			t.Logf("%d MiB %v after they are gone", g.measure(t).residentMiB, time.Since(gone).Round(time.Second))
		})
	}
}
