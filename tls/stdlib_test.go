package tls

import (
	"bytes"
	"crypto/rand"
	ctls "crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

// The event loop runs crypto/tls over connections that say "again" instead of blocking. Some of what
// that leans on is documented, some is only so. Each test here holds one property, against the
// standard library alone: a Go release that changes one fails here, and not in the gateway.

// bothVersions runs test for TLS 1.2 and 1.3, with configurations for a server and a client.
func bothVersions(t *testing.T, test func(t *testing.T, server, client *ctls.Config)) {
	ca := newAuthority(t, "authority")
	cert := ca.issue(t, []string{"example.com"}).parsed(t)
	for _, version := range []uint16{ctls.VersionTLS12, ctls.VersionTLS13} {
		t.Run(ctls.VersionName(version), func(t *testing.T) {
			test(t,
				&ctls.Config{Certificates: []ctls.Certificate{cert}, MinVersion: version, MaxVersion: version},
				&ctls.Config{RootCAs: ca.pool(), ServerName: "example.com", ClientSessionCache: ctls.NewLRUClientSessionCache(1)})
		})
	}
}

// readAll calls Read until it says "again", and returns what it gave.
func readAll(t *testing.T, from *ctls.Conn) []byte {
	t.Helper()
	var got []byte
	p := make([]byte, 1000)
	for {
		n, err := from.Read(p)
		got = append(got, p[:n]...) // n > 0 may come with the error
		if err == errAgain {
			return got
		}
		if err != nil {
			t.Fatalf("Read = %d, %v; want bytes or %v", n, err, errAgain)
		}
	}
}

// trickle gives a side its input byte by byte, reads after each, and returns what it got.
func trickle(t *testing.T, to *ctls.Conn, in *line, wire []byte) []byte {
	t.Helper()
	var got []byte
	for i := range wire {
		in.put(wire[i : i+1])
		got = append(got, readAll(t, to)...)
	}
	return got
}

func randomBytes(n int) []byte {
	p := make([]byte, n)
	_, _ = rand.Read(p)
	return p
}

func TestStdlibReadResumesByteByByteBehindTemporaryErrors(t *testing.T) {
	bothVersions(t, func(t *testing.T, server, client *ctls.Config) {
		p := newPair(t, server, client)
		for _, side := range []struct {
			name     string
			from, to *ctls.Conn
			in       *line
		}{
			{"client to server", p.client, p.server, p.serverEnd.in},
			// With the session tickets of TLS 1.3 in front.
			{"server to client", p.server, p.client, p.clientEnd.in},
		} {
			var want []byte
			for _, bytes := range []int{1, 1000, 16384, 20000} {
				message := randomBytes(bytes)
				want = append(want, message...)
				if n, err := side.from.Write(message); n != len(message) || err != nil {
					t.Fatalf("%s: Write = %d, %v", side.name, n, err)
				}
			}
			if got := trickle(t, side.to, side.in, side.in.take()); !bytes.Equal(got, want) {
				t.Errorf("%s: got %d bytes, want %d, the same", side.name, len(got), len(want))
			}
		}
	})
}

func TestStdlibReadUntilAgainLeavesNothingInside(t *testing.T) {
	bothVersions(t, func(t *testing.T, server, client *ctls.Config) {
		p := newPair(t, server, client)
		var want []byte
		for range 40 {
			message := randomBytes(700)
			want = append(want, message...)
			if _, err := p.client.Write(message); err != nil {
				t.Fatal(err)
			}
		}
		if got := readAll(t, p.server); !bytes.Equal(got, want) {
			t.Errorf("got %d bytes in one go, want all %d", len(got), len(want))
		}
	})
}

func TestStdlibTicketsAreReadByTheNextRead(t *testing.T) {
	bothVersions(t, func(t *testing.T, server, client *ctls.Config) {
		p := newPair(t, server, client)
		// The handshake may have read further than it went, so it is not the line alone that has them.
		if got := readAll(t, p.client); len(got) > 0 {
			t.Fatalf("got %d bytes, want none", len(got))
		}
		if next := newPair(t, server, client); !next.server.ConnectionState().DidResume {
			t.Error("the next connection did not resume")
		}
	})
}

func TestStdlibTemporaryErrorInHandshakeIsPermanent(t *testing.T) {
	bothVersions(t, func(t *testing.T, server, _ *ctls.Config) {
		end, _ := newEnds()
		end.in.setAgain()
		conn := ctls.Server(end, server)
		if err := conn.Handshake(); err != errAgain {
			t.Fatalf("Handshake = %v, want %v", err, errAgain)
		}
		end.in.put([]byte{22, 3, 1, 0, 0})
		if err := conn.Handshake(); err != errAgain {
			t.Errorf("second Handshake = %v; if it goes on now, the loop could shake hands itself", err)
		}
	})
}

func TestStdlibWriteGivesTheLowerWriteEverythingAtOnce(t *testing.T) {
	bothVersions(t, func(t *testing.T, server, client *ctls.Config) {
		p := newPair(t, server, client)
		readAll(t, p.client)
		message := randomBytes(50000)
		if n, err := p.server.Write(message); n != len(message) || err != nil {
			t.Fatalf("Write = %d, %v", n, err)
		}
		if got := readAll(t, p.client); !bytes.Equal(got, message) {
			t.Errorf("after Write %d bytes are on the line, want all %d", len(got), len(message))
		}
	})
}

func TestStdlibFailedLowerWriteIsPermanent(t *testing.T) {
	bothVersions(t, func(t *testing.T, server, client *ctls.Config) {
		p := newPair(t, server, client)
		p.serverEnd.writeErr = errAgain
		if _, err := p.server.Write([]byte("x")); !errors.Is(err, errAgain) {
			t.Fatalf("Write = %v, want %v", err, errAgain)
		}
		p.serverEnd.writeErr = nil
		if _, err := p.server.Write([]byte("x")); err == nil {
			t.Error("the next Write succeeded; if it may, the lower Write need not take everything")
		}
	})
}

func TestStdlibTemporaryReadErrorsLeaveWritesAlone(t *testing.T) {
	bothVersions(t, func(t *testing.T, server, client *ctls.Config) {
		p := newPair(t, server, client)
		readAll(t, p.client)
		readAll(t, p.server)
		if _, err := p.server.Write([]byte("still here")); err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, p.client); string(got) != "still here" {
			t.Errorf("got %q", got)
		}
	})
}

func TestStdlibCloseWriteSendsCloseNotifyAndReadsGoOn(t *testing.T) {
	bothVersions(t, func(t *testing.T, server, client *ctls.Config) {
		p := newPair(t, server, client)
		readAll(t, p.client)
		if err := p.server.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if n, err := p.client.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Fatalf("Read after close_notify = %d, %v; want EOF", n, err)
		}
		if _, err := p.client.Write([]byte("late")); err != nil {
			t.Fatalf("Write after the peer's close_notify = %v", err)
		}
		if got := readAll(t, p.server); string(got) != "late" {
			t.Errorf("after its own close_notify the server got %q, want \"late\"", got)
		}
		if _, err := p.server.Write([]byte("x")); err == nil {
			t.Error("Write after CloseWrite succeeded")
		}
	})
}

func TestStdlibCloseNotifyArrivesByteByByte(t *testing.T) {
	bothVersions(t, func(t *testing.T, server, client *ctls.Config) {
		p := newPair(t, server, client)
		if err := p.client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		wire := p.serverEnd.in.take()
		last := len(wire) - 1
		if got := trickle(t, p.server, p.serverEnd.in, wire[:last]); len(got) > 0 {
			t.Fatalf("got %q", got)
		}
		p.serverEnd.in.put(wire[last:])
		if n, err := p.server.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("Read = %d, %v; want EOF", n, err)
		}
	})
}

func TestStdlibEndWithoutCloseNotify(t *testing.T) {
	bothVersions(t, func(t *testing.T, server, client *ctls.Config) {
		for _, test := range []struct {
			name string
			left int // bytes of a record that come before the end
			want error
		}{
			{"between records is the same as close_notify", 0, io.EOF},
			{"inside a record is told", 10, io.ErrUnexpectedEOF},
		} {
			p := newPair(t, server, client)
			if _, err := p.client.Write([]byte("a record")); err != nil {
				t.Fatal(err)
			}
			wire := p.serverEnd.in.take()
			p.serverEnd.in.put(wire[:test.left])
			readAll(t, p.server)
			p.serverEnd.in.end()
			if _, err := p.server.Read(make([]byte, 1)); err != test.want {
				t.Errorf("%s: Read = %v, want %v", test.name, err, test.want)
			}
		}
	})
}

func TestStdlibKeyUpdateOfThePeerIsFollowed(t *testing.T) {
	p, toServer, fromServer := newPairWithKeys(t)
	feed := func(record []byte) []byte { return trickle(t, p.server, p.serverEnd.in, record) }
	const handshake, data = 22, 23
	var got []byte
	got = append(got, feed(toServer.seal(data, []byte("a large")))...)

	// RFC 8446 section 4.6.3: update_not_requested.
	got = append(got, feed(toServer.seal(handshake, []byte{24, 0, 0, 1, 0}))...)
	toServer.update()
	got = append(got, feed(toServer.seal(data, []byte(" frame,")))...)
	if wire := p.clientEnd.in.take(); len(wire) > 0 {
		t.Fatalf("the server answered an update that asked for none: %x", wire)
	}

	// update_requested: the answer is sent by Read, under the old keys; then come the new ones.
	got = append(got, feed(toServer.seal(handshake, []byte{24, 0, 0, 1, 1}))...)
	toServer.update()
	kind, answer := fromServer.open(t, p.clientEnd.in.take())
	if kind != handshake || !bytes.Equal(answer, []byte{24, 0, 0, 1, 0}) {
		t.Fatalf("the server's answer is of type %d, %x; want a KeyUpdate that asks for none", kind, answer)
	}
	fromServer.update()
	got = append(got, feed(toServer.seal(data, []byte(" whole")))...)
	if string(got) != "a large frame, whole" {
		t.Errorf("the server read %q", got)
	}
	if _, err := p.server.Write([]byte("reply")); err != nil {
		t.Fatal(err)
	}
	if kind, reply := fromServer.open(t, p.clientEnd.in.take()); kind != data || string(reply) != "reply" {
		t.Errorf("the server wrote type %d, %q", kind, reply)
	}
}

func TestStdlibBoundsKeyUpdatesInARow(t *testing.T) {
	p, toServer, _ := newPairWithKeys(t)
	for range 100 {
		p.serverEnd.in.put(toServer.seal(22, []byte{24, 0, 0, 1, 1}))
		toServer.update()
	}
	_, err := p.server.Read(make([]byte, 1))
	if err == nil || err == errAgain {
		t.Errorf("Read = %v after 100 KeyUpdates; want the end of the connection", err)
	}
	if answers := len(p.clientEnd.in.take()); answers > 100*27 {
		t.Errorf("the answers are %d bytes", answers)
	}
}

// newPairWithKeys returns a pair of TLS 1.3 and both directions of its record layer, as the client
// has it after the handshake. There are no tickets, whose number would count.
func newPairWithKeys(t *testing.T) (p *pair, toServer, fromServer *recordLayer) {
	t.Helper()
	ca := newAuthority(t, "authority")
	var secrets bytes.Buffer
	p = newPair(t,
		&ctls.Config{Certificates: []ctls.Certificate{ca.issue(t, []string{"example.com"}).parsed(t)}, SessionTicketsDisabled: true},
		&ctls.Config{RootCAs: ca.pool(), ServerName: "example.com", KeyLogWriter: &secrets})
	if suite := p.server.ConnectionState().CipherSuite; suite != ctls.TLS_AES_128_GCM_SHA256 {
		t.Skipf("this machine prefers %s, the test's record layer is for AES-128-GCM", ctls.CipherSuiteName(suite))
	}
	for line := range strings.Lines(secrets.String()) {
		var label, random, secret string
		if _, err := fmt.Sscan(line, &label, &random, &secret); err != nil {
			t.Fatal(err)
		}
		switch label {
		case "CLIENT_TRAFFIC_SECRET_0":
			toServer = newRecordLayer(t, secret)
		case "SERVER_TRAFFIC_SECRET_0":
			fromServer = newRecordLayer(t, secret)
		}
	}
	return p, toServer, fromServer
}

func TestStdlibTellsPlainHTTPFromTLS(t *testing.T) {
	bothVersions(t, func(t *testing.T, server, _ *ctls.Config) {
		end, peer := newEnds()
		if _, err := peer.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		err := ctls.Server(end, server).Handshake()
		var header ctls.RecordHeaderError
		if !errors.As(err, &header) || header.Conn != end || string(header.RecordHeader[:]) != "GET /" {
			t.Errorf("Handshake = %#v; want a RecordHeaderError with the connection and its first bytes", err)
		}
		if sent := peer.in.take(); len(sent) > 0 {
			t.Errorf("the client was sent %x, so no response in plain text can follow", sent)
		}
	})
}

func TestStdlibNamesAlertsByTheOperation(t *testing.T) {
	bothVersions(t, func(t *testing.T, server, client *ctls.Config) {
		client.RootCAs = newAuthority(t, "another").pool()
		serverEnd, clientEnd := newEnds()
		failed := make(chan error, 1)
		go func() { failed <- ctls.Client(clientEnd, client).Handshake() }()
		err := ctls.Server(serverEnd, server).Handshake()
		var operation *net.OpError
		if !errors.As(err, &operation) || operation.Op != "remote error" {
			t.Errorf("an alert of the client is %#v, want a net.OpError of \"remote error\"", err)
		}
		if err := <-failed; err == nil {
			t.Error("the client trusts anyone")
		}
	})
}

func TestStdlibResumesNoClientOfAnotherAuthority(t *testing.T) {
	bothVersions(t, func(t *testing.T, server, client *ctls.Config) {
		clients := newAuthority(t, "clients")
		client.Certificates = []ctls.Certificate{clients.issue(t, nil).parsed(t)}
		server.ClientAuth = ctls.RequireAndVerifyClientCert
		server.ClientCAs = clients.pool()
		server.SetSessionTicketKeys([][32]byte{{1}})
		readAll(t, newPair(t, server, client).client)
		if again := newPair(t, server, client); !again.server.ConnectionState().DidResume {
			t.Fatal("the second connection did not resume")
		}
		server = server.Clone()
		server.ClientAuth = ctls.VerifyClientCertIfGiven
		server.ClientCAs = newAuthority(t, "others").pool()
		serverEnd, clientEnd := newEnds()
		go func() {
			_ = ctls.Client(clientEnd, client).Handshake()
			_ = clientEnd.Close()
		}()
		conn := ctls.Server(serverEnd, server)
		err := conn.Handshake()
		if state := conn.ConnectionState(); state.DidResume || err == nil && len(state.VerifiedChains) > 0 {
			t.Errorf("a ticket took a client past an authority that doesn't know it: resumed %v, error %v", state.DidResume, err)
		}
	})
}
