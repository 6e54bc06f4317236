//go:build unix

package test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

var (
	needGnuTLSClient  = need{"gnutls-cli", "gnutls-bin (Debian)", succeeds("gnutls-cli", "--version")}
	needGnuTLSLibrary = need{"GnuTLS for C", "gcc libc6-dev libgnutls28-dev (Debian)", hasFile("/usr/include/gnutls/gnutls.h", "gcc")}
	needJava          = need{"Java", "openjdk-17-jdk-headless (Debian)", succeeds("javac", "-version")}
)

// tlsSuites are those of TLS 1.3 that crypto/tls has.
var tlsSuites = []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}

// priority allows a suite only, in GnuTLS's words.
func priority(suite string) string {
	ciphers := map[string]string{tlsSuites[0]: "AES-128-GCM", tlsSuites[1]: "AES-256-GCM", tlsSuites[2]: "CHACHA20-POLY1305"}
	return "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+" + ciphers[suite]
}

// A pipe is a process that passes bytes between its stdin and stdout and a TLS connection. The wire is what it reads and writes.
type pipe struct {
	*wire
	*program
	told *tail // its stderr
}

// startPipe starts a process. isClient reports whether its end of the connection is the client's.
func startPipe(t *testing.T, isClient bool, command ...string) *pipe {
	t.Helper()
	ln := listenRaw(t)
	ours := dial(t, ln.Addr().String())
	ours.isClient = isClient
	theirs, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	file, err := theirs.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p := &pipe{wire: ours, told: new(tail)}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = file, file, p.told
	p.program = start(t, cmd, nil)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("stderr of %s:\n%s", command[0], p.told.last())
		}
	})
	return p
}

// untilLine reads lines, of a backend's program, up to one that begins so. It returns them all.
func (p *pipe) untilLine(t *testing.T, prefix string) (lines []string) {
	t.Helper()
	_ = p.SetDeadline(time.Now().Add(3 * patience)) // Java starts slowly
	for {
		line, err := p.reader.ReadString('\n')
		if lines = append(lines, strings.TrimSuffix(line, "\n")); err != nil {
			t.Fatalf("no line %q: %v\n%s", prefix, err, strings.Join(lines, "\n"))
		}
		if strings.HasPrefix(line, prefix) {
			return lines
		}
	}
}

// A library is TLS that none of us wrote, in the programs of a client or a backend.
//
// A backend's program writes a line with its address at first, lines of its own before what arrives on a connection, one of which is "Reused
// session-id" if the connection resumes a session, and a line "DONE" after what arrived, if it ended by close_notify.
type library struct {
	name    string
	needs   []need
	command func(t *testing.T, suite string) []string
	resume  []string // of a client: more arguments, by which a second process resumes the session of the first one. nil: nothing resumes
	rekey   func(t *testing.T, p *pipe, isRequest bool)
	rekeyed string // a line that the program writes to stdout when the gateway has changed its keys; "": none
}

// OpenSSL pads its records here.
func TestTLSLibrariesAreClients(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	ca := newAuthority(t, directory, "authority")
	backend := listenRaw(t)
	g := secureGateway(t, section("", ca.issue(t, "site")), backend.Addr().String())
	_, port, err := net.SplitHostPort(g.listeners["public"])
	if err != nil {
		t.Fatal(err)
	}
	ticket := filepath.Join(directory, "ticket")
	java := newJava(directory)
	for _, client := range []library{
		{
			"OpenSSL", []need{needOpenSSL},
			func(_ *testing.T, suite string) []string {
				return []string{"openssl", "s_client", "-quiet", "-no_ign_eof", "-verify_return_error", "-CAfile", ca.cert, "-tls1_3", "-ciphersuites", suite,
					"-record_padding", "4096", "-sess_out", ticket, "-connect", g.listeners["public"]}
			},
			[]string{"-sess_in", ticket},
			func(t *testing.T, p *pipe, isRequest bool) {
				count := func() int { return strings.Count(p.told.String(), "KEYUPDATE") }
				before := count()
				p.send(t, letter(isRequest))
				eventually(t, patience, "KEYUPDATE", func() bool { return count() > before })
			},
			"",
		},
		{
			"GnuTLS", []need{needGnuTLSClient},
			func(_ *testing.T, suite string) []string {
				return []string{"gnutls-cli", "--logfile=/dev/null", "--inline-commands", "--x509cafile=" + ca.cert, "--priority=" + priority(suite), "--port=" + port, "localhost"}
			},
			[]string{"--resume", "--waitresumption"},
			func(t *testing.T, p *pipe, isRequest bool) {
				p.send(t, map[bool]string{false: "^rekey1^\n", true: "^rekey^\n"}[isRequest]) // which a line feed precedes
			},
			"",
		},
		{
			"Java", []need{needJava},
			func(t *testing.T, suite string) []string { return java.command(t, "connect", suite, port, ca.cert) },
			nil, java.rekey, "",
		},
	} {
		for _, suite := range tlsSuites {
			t.Run(client.name+" "+suite, func(t *testing.T) {
				requires(t, client.needs...)
				connect := func(arguments ...string) (*pipe, *wire) {
					p := startPipe(t, true, append(client.command(t, suite), arguments...)...)
					p.send(t, request("/"))
					b := backend.accept(t)
					b.send(t, switching())
					p.wantOpen(t)
					return p, b
				}
				p, b := connect()
				exchange(t, p.wire, b)
				client.rekeyInFrames(t, p, b)
				endSession(t, p.wire, b, 1000, "")
				p.wantClosed(t)
				if client.resume == nil {
					return
				}
				const resumed = `sluice_tls_handshakes_total{result="resumed",version="1.3"}`
				before := g.count(t, resumed)
				p, b = connect(client.resume...)
				if g.count(t, resumed) != before+1 {
					t.Error("the second connection resumes no session")
				}
				passes(t, p.wire, b, ws.OpText, "resumed")
				passes(t, b, p.wire, ws.OpText, "resumed")
				endSession(t, b, p.wire, 4321, "bye")
				p.wantClosed(t)
			})
		}
	}
}

// OpenSSL makes small records here.
func TestTLSLibrariesAreBackends(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	ca := newAuthority(t, directory, "authority")
	site := ca.issue(t, "site")
	java := newJava(directory)
	for _, backend := range []library{
		{
			"OpenSSL", []need{needOpenSSL},
			func(_ *testing.T, suite string) []string {
				return []string{"stdbuf", "-oL", "openssl", "s_server", "-accept", "127.0.0.1:0", "-tls1_3", "-ciphersuites", suite, "-max_send_frag", "512",
					"-cert", site.cert, "-key", site.key}
			},
			[]string{},
			func(t *testing.T, p *pipe, isRequest bool) {
				p.send(t, letter(isRequest))
				p.untilLine(t, "SSL_do_handshake -> 1")
			},
			"Read BLOCK",
		},
		{
			"GnuTLS", []need{needGnuTLSLibrary},
			func(t *testing.T, suite string) []string {
				program := filepath.Join(directory, "gnutls")
				if out, err := exec.Command("gcc", "-O1", "-Wall", "-Werror", "-o", program, "peers/gnutls.c", "-lgnutls").CombinedOutput(); err != nil {
					t.Fatalf("gcc: %v\n%s", err, out)
				}
				return []string{program, site.cert, site.key, priority(suite)}
			},
			[]string{},
			func(t *testing.T, p *pipe, isRequest bool) {
				p.signal(t, map[bool]syscall.Signal{false: syscall.SIGUSR1, true: syscall.SIGUSR2}[isRequest])
				p.untilLine(t, "KEYUPDATE")
			},
			"",
		},
		{
			"Java", []need{needJava},
			func(t *testing.T, suite string) []string {
				return java.command(t, "accept", suite, site.cert, site.key)
			},
			nil, java.rekey, "",
		},
	} {
		for _, suite := range tlsSuites {
			t.Run(backend.name+" "+suite, func(t *testing.T) {
				requires(t, backend.needs...)
				p := startPipe(t, false, backend.command(t, suite)...)
				lines := p.untilLine(t, "ACCEPT ")
				address := strings.TrimPrefix(lines[len(lines)-1], "ACCEPT ")
				g := runGateway(t, poolOf(fmt.Sprintf("[pool.tls]\nca = %q", ca.cert), "wss://"+address))
				connect := func() (*wire, []string) {
					c := dial(t, g.listeners["public"])
					c.send(t, request("/"))
					lines := p.untilLine(t, "\r") // the end of the request
					p.send(t, switching())
					c.wantOpen(t)
					return c, lines
				}
				c, _ := connect()
				exchange(t, c, p.wire)
				backend.rekeyInFrames(t, p, c)
				endSession(t, p.wire, c, 4321, "bye")
				p.untilLine(t, "DONE")
				c.wantGone(t)
				if backend.resume == nil {
					return
				}
				c, lines = connect()
				if !slices.Contains(lines, "Reused session-id") {
					t.Errorf("the second connection resumes no session; the program wrote\n%s", strings.Join(lines, "\n"))
				}
				passes(t, c, p.wire, ws.OpText, "resumed")
				passes(t, p.wire, c, ws.OpText, "resumed")
				endSession(t, c, p.wire, 1000, "")
				p.untilLine(t, "DONE")
				c.wantGone(t)
			})
		}
	}
}

// In TLS 1.3 there is none: of what s_client and gnutls-cli have, the former is an error of its own, the latter does nothing.
func TestARenegotiationOfAClientEndsItsSession(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, t.TempDir(), "authority")
	backend := listenRaw(t)
	g := secureGateway(t, section("", ca.issue(t, "site")), backend.Addr().String())
	_, port, err := net.SplitHostPort(g.listeners["public"])
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, client := range []struct {
		name        string
		needs       need
		command     []string
		renegotiate string
	}{
		{"OpenSSL", needOpenSSL, []string{"openssl", "s_client", "-quiet", "-no_ign_eof", "-CAfile", ca.cert, "-tls1_2", "-connect", g.listeners["public"]}, "R\n"},
		{"GnuTLS", needGnuTLSClient, []string{"gnutls-cli", "--logfile=/dev/null", "--inline-commands", "--x509cafile=" + ca.cert,
			"--priority=NORMAL:-VERS-ALL:+VERS-TLS1.2", "--port=" + port, "localhost"}, "^renegotiate^\n"},
	} {
		t.Run(client.name, func(t *testing.T) {
			requires(t, client.needs)
			p := startPipe(t, true, client.command...)
			p.send(t, request("/"))
			b := backend.accept(t)
			b.send(t, switching())
			p.wantOpen(t)
			passes(t, p.wire, b, ws.OpText, "before\n") // gnutls-cli has commands at the beginning of a line
			p.send(t, client.renegotiate)
			b.wantClose(t, 1001)
			b.wantNoMore(t)
			if code := p.exitCode(t, 3*patience); code == 0 {
				t.Errorf("%s exits with 0: its renegotiation was not refused", client.name)
			}
			refused++
			if got := g.count(t, `sluice_protocol_errors_total{rule="tls",side="client"}`); got != refused {
				t.Errorf("%d faults of TLS; want %d", got, refused)
			}
		})
	}
}

// letter is openssl's command for a KeyUpdate.
func letter(isRequest bool) string {
	if isRequest {
		return "K\n"
	}
	return "k\n"
}

// A java runs peers/Pipe.java.
type java struct {
	directory string // of its class, and of its settings
	compile   func() ([]byte, error)
}

// javaLimit is after how many bytes under one key Java changes its keys: not in exchange, but in the first frame after it.
const javaLimit = 1_150_000

func newJava(directory string) *java {
	return &java{directory, sync.OnceValues(func() ([]byte, error) {
		settings := fmt.Sprintf("jdk.tls.keyLimits=AES/GCM/NoPadding KeyUpdate %[1]d, ChaCha20-Poly1305 KeyUpdate %[1]d\n", javaLimit)
		if err := os.WriteFile(filepath.Join(directory, "settings"), []byte(settings), 0o600); err != nil {
			return nil, err
		}
		return exec.Command("javac", "-d", directory, "peers/Pipe.java").CombinedOutput()
	})}
}

// command returns what runs the program.
func (j *java) command(t *testing.T, arguments ...string) []string {
	t.Helper()
	if out, err := j.compile(); err != nil {
		t.Fatalf("javac: %v\n%s", err, out)
	}
	options := []string{"java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
		"-Djava.security.properties=" + filepath.Join(j.directory, "settings"), "-Djavax.net.debug=ssl,handshake", "-cp", j.directory, "Pipe"}
	return append(options, arguments...)
}

// rekey waits until Java has changed its keys by itself.
func (*java) rekey(t *testing.T, p *pipe, _ bool) {
	t.Helper()
	eventually(t, 3*patience, "a change of Java's keys", func() bool { return strings.Contains(p.told.String(), "KeyUpdate: write key updated") })
}

// exchange sends messages of all lengths of a header and of a record, and pings, both ways.
func exchange(t *testing.T, client, backend *wire) {
	t.Helper()
	for _, way := range [][2]*wire{{client, backend}, {backend, client}} {
		from, to := way[0], way[1]
		for i, size := range []int{0, 1, 125, 126, 16 << 10, 64 << 10, 1 << 20} {
			opcode, payload := ws.OpBinary, strings.Repeat("\x80\xb5\xff", size/3+1)[:size]
			if i%2 == 1 {
				opcode, payload = ws.OpText, strings.Repeat("µ", size/2)+"\n"[:size%2]
			}
			passes(t, from, to, opcode, payload)
		}
		from.send(t, from.frame(ws.OpPing, "still there?"))
		from.wantFrame(t, ws.OpPong, "still there?") // the gateway's own
		to.wantFrame(t, ws.OpPing, "still there?")
		to.send(t, to.frame(ws.OpPong, "still there?"))
	}
}

// bare draws a frame with a masking key of zeros, if any: no part of it looks like a command of openssl or gnutls-cli unless the payload does.
func bare(isMasked bool, opcode ws.OpCode, payload string) string {
	f := ws.NewFrame(opcode, true, []byte(payload))
	if isMasked {
		f = ws.MaskFrameWith(f, [4]byte{})
	}
	return string(ws.MustCompileFrame(f))
}

// passes sends a frame and waits for it at the other end.
func passes(t *testing.T, from, to *wire, opcode ws.OpCode, payload string) {
	t.Helper()
	frame := bare(from.isClient, opcode, payload)
	deadline := time.Now().Add(3 * patience) // gnutls-cli writes byte by byte
	_, _ = from.SetDeadline(deadline), to.SetDeadline(deadline)
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(from.TCPConn, frame)
		sent <- err
	}()
	got := make([]byte, len(frame))
	if n, err := io.ReadFull(to.reader, got); err != nil || string(got) != frame {
		t.Fatalf("frame with opcode %x and %d bytes: %d bytes %.60q, %v; want %d bytes %.60q", opcode, len(payload), n, got, err, len(frame), frame)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

// rekeyInFrames has a program change its keys in the middle of large frames, with and without a request to the gateway to do the same.
func (l *library) rekeyInFrames(t *testing.T, p *pipe, other *wire) {
	t.Helper()
	const half = 40_000 // bytes
	payload := strings.Repeat(strings.Repeat("~", half-1)+"\n", 2)
	for _, isRequest := range []bool{true, false, true} {
		frame := bare(p.isClient, ws.OpBinary, payload)
		begin := len(frame) - half
		p.send(t, frame[:begin])
		other.mayWait()
		got := make([]byte, len(frame))
		if _, err := io.ReadFull(other.reader, got[:begin]); err != nil {
			t.Fatalf("the first half of a frame: %v", err)
		}
		l.rekey(t, p, isRequest)
		p.send(t, frame[begin:])
		if _, err := io.ReadFull(other.reader, got[begin:]); err != nil || string(got) != frame {
			t.Fatalf("the second half of a frame, after a KeyUpdate with request %t: %v", isRequest, err)
		}
		other.send(t, other.frame(ws.OpText, "heard"))
		if isRequest && l.rekeyed != "" {
			p.untilLine(t, l.rekeyed)
		}
		p.wantFrame(t, ws.OpText, "heard")
		passes(t, other, p.wire, ws.OpBinary, payload)
	}
	// Java asks for new keys with each record above its limit until it sees them, which may be those of megabytes that are on their way.
	passes(t, other, p.wire, ws.OpBinary, strings.Repeat("0123456789abcdef", 8<<20/16))
}

// endSession closes a session from one side.
func endSession(t *testing.T, from, to *wire, code ws.StatusCode, reason string) {
	t.Helper()
	from.send(t, from.closeFrame(code, reason))
	to.wantClose(t, code)
	to.send(t, to.closeFrame(code, reason))
	from.wantClose(t, code)
}

// wantClosed waits for the end of a client's program, which must have seen close_notify.
func (p *pipe) wantClosed(t *testing.T) {
	t.Helper()
	p.wantEnd(t)
	if code := p.exitCode(t, 3*patience); code != 0 {
		t.Errorf("%s exits with %d, want 0", p.cmd.Path, code)
	}
}
