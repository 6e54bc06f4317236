package record

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// eachEnd runs test for each suite and end.
func eachEnd(t *testing.T, test func(t *testing.T, id uint16, takesClient bool)) {
	for _, id := range suiteIDs {
		for _, takesClient := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, client %t", tls.CipherSuiteName(id), takesClient), func(t *testing.T) {
				withSuite(id, func() { test(t, id, takesClient) })
			})
		}
	}
}

// checkGoesOn checks that an exchange passes data both ways, and ends.
func (x *link) checkGoesOn(t *testing.T) {
	t.Helper()
	ours, theirs := []byte("from ours"), []byte("from theirs")
	x.write(ours)
	if got := readAll(t, x.theirs); !bytes.Equal(got, ours) {
		t.Errorf("crypto/tls has read %q, want %q", got, ours)
	}
	before := len(x.content)
	if _, err := x.theirs.Write(theirs); err != nil {
		t.Fatal(err)
	}
	if err := x.read(0); err != nil || !bytes.Equal(x.content[before:], theirs) {
		t.Errorf("opened %q, %v; want %q", x.content[before:], err, theirs)
	}
	x.checkSecrets()
	x.end()
}

func TestAConnectionIsTakenAfterItsHandshake(t *testing.T) {
	eachEnd(t, func(t *testing.T, id uint16, takesClient bool) {
		server, client := configs()
		p := newPair(t, server, client)
		if suite := p.client.ConnectionState().CipherSuite; suite != id {
			t.Fatalf("crypto/tls has chosen %s", tls.CipherSuiteName(suite))
		}
		x := newLink(t, p, takesClient)
		if len(x.content) > 0 {
			t.Errorf("%d bytes of content come from the handshake", len(x.content))
		}
		x.checkGoesOn(t) // a client reads the early tickets first
	})
}

func TestWhatCryptoTLSHasReadIsTaken(t *testing.T) {
	eachEnd(t, func(t *testing.T, _ uint16, takesClient bool) {
		for _, cut := range []int{0, 1, 4, 5, 30} { // bytes of a further record that have come
			server, client := configs()
			p := newPair(t, server, client)
			ours, theirs, wire := p.ends(takesClient)
			var sent []byte
			for _, s := range []string{"one that is read in part, ", "one that is not read, ", strings.Repeat("one that is cut", 10)} {
				sent = append(sent, s...)
				if _, err := theirs.Write([]byte(s)); err != nil {
					t.Fatal(err)
				}
			}
			// All of it comes at once, so that one Read of the connection gets it.
			came := wire.takeAll()
			last := len(came) - (Overhead + 150)
			wire.rest = bytes.Clone(came[:last+cut])
			got := make([]byte, 10)
			if _, err := io.ReadFull(ours, got); err != nil {
				t.Fatal(err)
			}
			x := newLink(t, p, takesClient)
			if len(x.content) != len("one that is read in part, ")-len(got) {
				t.Errorf("%q of content is taken", x.content)
			}
			if want := last + cut; len(x.records) == 0 || len(x.records)+len(wire.rest) > want {
				t.Errorf("%d bytes of records are taken, and %d are left", len(x.records), len(wire.rest))
			}
			wire.rest = append(wire.rest, came[last+cut:]...)
			if err := x.read(0); err != nil || string(got)+string(x.content) != string(sent) {
				t.Errorf("%d bytes: %q and %q are read, %v; want %q", cut, got, x.content, err, sent)
			}
			x.content = nil
			x.checkGoesOn(t)
		}
	})
}

func TestAConnectionIsTakenAfterItWasUsed(t *testing.T) {
	eachEnd(t, func(t *testing.T, _ uint16, takesClient bool) {
		server, client := configs()
		p := newPair(t, server, client)
		ours, theirs, _ := p.ends(takesClient)
		for i := range 300 { // more records than one byte counts
			if _, err := ours.Write([]byte("there")); err != nil {
				t.Fatal(err)
			}
			if _, err := theirs.Write([]byte("back")); err != nil {
				t.Fatal(err)
			}
			if i%3 == 0 {
				readAll(t, ours)
				readAll(t, theirs)
			}
		}
		readAll(t, theirs)
		want := len(readAll(t, ours)) // nothing is left
		x := newLink(t, p, takesClient)
		if len(x.content) > 0 || len(x.records) > 0 {
			t.Errorf("%d bytes of content and %d of records are taken after all %d were read", len(x.content), len(x.records), want)
		}
		x.checkGoesOn(t)
	})
}

func TestAConnectionIsTakenAfterItsKeysHaveChanged(t *testing.T) {
	eachEnd(t, func(t *testing.T, id uint16, takesClient bool) {
		server, client := configs()
		server.SessionTicketsDisabled = true
		p := newPair(t, server, client)
		// The one end asks the other for new keys, and is taken afterwards; then the other one is.
		x := newLink(t, p, takesClient)
		x.requestUpdate()
		x.write([]byte("under new keys"))
		if got := readAll(t, x.theirs); string(got) != "under new keys" {
			t.Fatalf("crypto/tls has read %q", got)
		}
		if err := x.read(0); err != nil || x.updates != 1 {
			t.Fatalf("crypto/tls has changed its keys %d times, %v", x.updates, err)
		}
		other, content, records, isTaken := Take(x.theirs)
		if !isTaken || len(content) > 0 || len(records) > 0 {
			t.Fatalf("taken %t, with %q and %x", isTaken, content, records)
		}
		checkWorks(t, tls.CipherSuiteName(id), x.layer, &x.conn, NewLayer(), &other)
	})
}

func TestAResumedConnectionIsTaken(t *testing.T) {
	eachEnd(t, func(t *testing.T, _ uint16, takesClient bool) {
		server, client := configs()
		server.SetSessionTicketKeys([][32]byte{{1}})
		first := newPair(t, server, client)
		readAll(t, first.client) // the ticket
		p := newPair(t, server, client)
		if !p.client.ConnectionState().DidResume {
			t.Fatal("the connection wasn't resumed")
		}
		newLink(t, p, takesClient).checkGoesOn(t)
	})
}

func TestAConnectionWithAClientCertificateIsTaken(t *testing.T) {
	eachEnd(t, func(t *testing.T, _ uint16, takesClient bool) {
		server, client := configs()
		server.ClientAuth = tls.RequireAnyClientCert
		client.Certificates = server.Certificates
		p := newPair(t, server, client)
		if len(p.server.ConnectionState().PeerCertificates) == 0 {
			t.Fatal("the server has no certificate of the client")
		}
		newLink(t, p, takesClient).checkGoesOn(t)
	})
}

// The session tickets are on the line, in the connection, or read, when a client is taken.
func TestAClientIsTakenBeforeAndAfterItHasReadItsTickets(t *testing.T) {
	for _, name := range []string{"not come", "come in part", "come", "read"} {
		t.Run(name, func(t *testing.T) {
			server, client := configs()
			p := newPair(t, server, client)
			tickets := p.clientWire.takeAll()
			rest := tickets
			if raw := at[bytes.Buffer](p.client, theLayout.rawInput); len(tickets)+raw.Len() == 0 {
				t.Fatal("the server has sent no tickets")
			}
			switch name {
			case "come in part":
				p.clientWire.rest, rest = tickets[:len(tickets)/2], tickets[len(tickets)/2:]
				readAll(t, p.client)
			case "come":
				p.clientWire.rest, rest = tickets, nil
			case "read":
				p.clientWire.rest, rest = tickets, nil
				readAll(t, p.client)
			}
			x := newLink(t, p, asClient)
			p.clientWire.rest = append(p.clientWire.rest, rest...)
			x.checkGoesOn(t)
		})
	}
}

func TestConnectionsThatAreNotTakenGoOn(t *testing.T) {
	for _, takesClient := range []bool{false, true} {
		server, client := configs()
		server.MaxVersion = tls.VersionTLS12
		p := newPair(t, server, client)
		ours, theirs, _ := p.ends(takesClient)
		if _, err := theirs.Write([]byte("there")); err != nil {
			t.Fatal(err)
		}
		checkNotTaken(t, "TLS 1.2", ours)
		if got := readAll(t, ours); string(got) != "there" {
			t.Errorf("crypto/tls has read %q afterwards", got)
		}
		if _, err := ours.Write([]byte("back")); err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, theirs); string(got) != "back" {
			t.Errorf("the other end has read %q afterwards", got)
		}
	}
	// A part of a handshake message waits in it: of a ticket.
	server, client := configs()
	server.SessionTicketsDisabled = true
	p := newPair(t, server, client)
	peer := peerOf(p.server)
	p.serverWire.send(t, peer.record(typeHandshake, realTicket[:5]...))
	if got := readAll(t, p.client); len(got) > 0 {
		t.Fatalf("crypto/tls has read %q", got)
	}
	checkNotTaken(t, "a part of a handshake message", p.client)
	p.serverWire.send(t, join(peer.record(typeHandshake, realTicket[5:]...), peer.data("after it")))
	if got := readAll(t, p.client); string(got) != "after it" {
		t.Errorf("crypto/tls has read %q afterwards", got)
	}
	x := newLink(t, p, asClient)
	x.records = append(x.records, peer.data("at last")...)
	if err := x.read(0); err != nil || string(x.content) != "at last" {
		t.Errorf("opened %q, %v", x.content, err)
	}
}

// realTicket is a NewSessionTicket of one byte, which crypto/tls accepts.
var realTicket = message(messageNewSessionTicket, []byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'x', 0, 0})

// peerOf returns what seals under the keys with which an end of crypto/tls writes.
func peerOf(conn *tls.Conn) *peer {
	return newPeer(conn.ConnectionState().CipherSuite, bytes.Clone(*at[[]byte](conn, theLayout.out.secret)))
}

func checkNotTaken(t *testing.T, name string, conn *tls.Conn) {
	t.Helper()
	if c, content, records, isTaken := Take(conn); isTaken || c != (Conn{}) || content != nil || records != nil {
		t.Errorf("%s: taken %t, with %d bytes of content and %d of records", name, isTaken, len(content), len(records))
	}
}

func TestConnectionsThatHaveEndedAreNotTaken(t *testing.T) {
	eachEnd(t, func(t *testing.T, _ uint16, takesClient bool) {
		for _, test := range []struct {
			name string
			end  func(ours, theirs *tls.Conn, wire *wire)
		}{
			{"close_notify was read", func(ours, theirs *tls.Conn, _ *wire) {
				if err := theirs.CloseWrite(); err != nil {
					t.Fatal(err)
				}
				if n, err := ours.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Fatalf("Read = %d, %v", n, err)
				}
			}},
			{"close_notify was sent", func(ours, _ *tls.Conn, _ *wire) {
				if err := ours.CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}},
			{"a record was not authentic", func(ours, _ *tls.Conn, wire *wire) {
				wire.rest = append(wire.takeAll(), join([]byte{23, 3, 3, 0, 20}, zeros(20))...)
				if n, err := ours.Read(make([]byte, 1)); n != 0 || err == nil || err == errAgain {
					t.Fatalf("Read = %d, %v", n, err)
				}
			}},
			{"a fatal alert was read", func(ours, theirs *tls.Conn, wire *wire) {
				wire.rest = append(wire.takeAll(), peerOf(theirs).record(typeAlert, 2, 80)...)
				if n, err := ours.Read(make([]byte, 1)); n != 0 || err == nil || err == errAgain {
					t.Fatalf("Read = %d, %v", n, err)
				}
			}},
			{"the stream has ended", func(ours, _ *tls.Conn, wire *wire) {
				wire.isQuiet = false
				ended := make(chan []byte)
				close(ended)
				wire.takeAll()
				wire.in = ended
				if n, err := ours.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Fatalf("Read = %d, %v", n, err)
				}
			}},
			{"a write has failed", func(ours, _ *tls.Conn, wire *wire) {
				wire.out = nil
				if n, err := ours.Write([]byte("x")); n != 0 || err == nil {
					t.Fatalf("Write = %d, %v", n, err)
				}
			}},
		} {
			server, client := configs()
			server.SessionTicketsDisabled = true
			p := newPair(t, server, client)
			ours, theirs, wire := p.ends(takesClient)
			test.end(ours, theirs, wire)
			checkNotTaken(t, test.name, ours)
		}
	})
}

// States that crypto/tls is not known to be in after a handshake.
func TestAConnectionInAnotherStateIsNotTaken(t *testing.T) {
	for _, id := range suiteIDs {
		for name, change := range map[string]func(conn *tls.Conn){
			"another version":        func(conn *tls.Conn) { *at[uint16](conn, theLayout.version) = tls.VersionTLS12 },
			"another suite":          func(conn *tls.Conn) { *at[uint16](conn, theLayout.suite) = 0x1304 },
			"records to send":        func(conn *tls.Conn) { *at[[]byte](conn, theLayout.toSend) = []byte{23} },
			"no secret of ours":      func(conn *tls.Conn) { *at[[]byte](conn, theLayout.out.secret) = nil },
			"a short secret of ours": func(conn *tls.Conn) { *at[[]byte](conn, theLayout.out.secret) = make([]byte, 31) },
			"no secret of theirs":    func(conn *tls.Conn) { *at[[]byte](conn, theLayout.in.secret) = nil },
			"a long one of theirs":   func(conn *tls.Conn) { *at[[]byte](conn, theLayout.in.secret) = make([]byte, 49) },
		} {
			conn := copied(templates()[id].server)
			if _, _, _, isTaken := Take(conn); !isTaken {
				t.Fatal("the connection itself isn't taken")
			}
			change(conn)
			checkNotTaken(t, name, conn)
		}
	}
}

func TestAHandshakeThatIsNotCompleteIsNotTaken(t *testing.T) {
	server, client := configs()
	a, b := newWires()
	checkNotTaken(t, "a server before its handshake", tls.Server(a, server))
	checkNotTaken(t, "a client before its handshake", tls.Client(b, client))

	// The client is done, but its Finished doesn't come.
	ours, theirs := tls.Server(a, server), tls.Client(b, client)
	done := make(chan error, 1)
	go func() { done <- theirs.Handshake() }()
	a.rest = <-a.in
	a.in, a.isQuiet = nil, true
	if err := ours.Handshake(); err != errAgain {
		t.Fatalf("Handshake = %v", err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	checkNotTaken(t, "a server in its handshake", ours)

	// The client trusts no one: the handshake has failed.
	client.RootCAs = nil
	a, b = newWires()
	ours, theirs = tls.Server(a, server), tls.Client(b, client)
	if err := shake([2]*tls.Conn{ours, theirs}, [2]*memory{&a.memory, &b.memory}); err == nil {
		t.Fatal("the client trusts the server")
	}
	checkNotTaken(t, "a server whose handshake has failed", ours)
	checkNotTaken(t, "a client whose handshake has failed", theirs)
}

func TestTheRecordsThatAreTakenMayBeChanged(t *testing.T) {
	server, client := configs()
	server.SessionTicketsDisabled = true
	p := newPair(t, server, client)
	for _, s := range []string{"one", "two"} {
		if _, err := p.client.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	p.serverWire.rest = p.serverWire.takeAll()
	if _, err := p.server.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_, content, records, isTaken := Take(p.server)
	if !isTaken || string(content) != "ne" {
		t.Fatalf("taken %t, with the content %q", isTaken, content)
	}
	clear(records[:cap(records)])
	if string(content) != "ne" {
		t.Errorf("the content is %q after a write to the records", content)
	}
}

func TestTakeWorksWithThisRelease(t *testing.T) {
	if err := Works(); err != nil {
		t.Fatal(err)
	}
}

func TestAnotherLayoutIsNamed(t *testing.T) {
	err := tryOut(fmt.Errorf("tls.Conn has no field vers"))
	if err == nil || !strings.Contains(err.Error(), "another crypto/tls: tls.Conn has no field vers") {
		t.Errorf("the error is %v", err)
	}
}

func TestFIPSModeIsNamed(t *testing.T) {
	if os.Getenv("RECORD_TEST_FIPS") != "" {
		if err := Works(); err != errFIPS {
			t.Errorf("Works = %v", err)
		}
		server, client := configs()
		server.MinVersion = tls.VersionTLS13
		checkNotTaken(t, "in FIPS mode", newPair(t, server, client).server)
		return
	}
	command := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	command.Env = append(os.Environ(), "GODEBUG=fips140=on", "RECORD_TEST_FIPS=true")
	out, err := command.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS")) {
		t.Errorf("in FIPS mode: %v\n%s", err, out)
	}
}
