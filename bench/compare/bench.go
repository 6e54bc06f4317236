package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sluice/bench/peers"
	"sluice/internal/load"
)

const (
	gatewayCore = "0"
	loadCore    = "1"
)

// bench is one comparison. Owned by the goroutine that runs it.
type bench struct {
	o       options
	dir     string
	sluice  string
	backend int // port
	peers   []peers.Peer
	result  *result
}

func (b *bench) run(ctx context.Context) error {
	stop, err := b.startBackend(ctx)
	if err != nil {
		return err
	}
	defer stop()
	b.findPeers()
	works, err := b.works()
	if err != nil {
		return err
	}
	running := map[string]*peers.Process{}
	defer func() {
		for p := range maps.Values(running) {
			p.Stop()
		}
	}()
	for _, p := range slices.Clone(b.peers) {
		process, err := p.Start(ctx, b.setup(1))
		if err != nil {
			b.leaveOut(p.Name, err)
			continue
		}
		running[p.Name] = process
	}
	begun := time.Now()
	for round := range b.o.rounds {
		roundBegun := time.Now()
		for _, w := range works {
			if w.isFresh && round >= b.o.freshRounds {
				continue
			}
			// Another one begins in each round.
			for i := range b.peers {
				p := b.peers[(i+round)%len(b.peers)]
				if w.isTLS && !p.HasTLS || w.workers > 1 && !p.HasWorkers {
					continue
				}
				b.tell("round %d of %d: %s: %s", round+1, b.o.rounds, w.title, p.Name)
				b.sample(ctx, w, p, running[p.Name])
				if ctx.Err() != nil {
					return errors.New("interrupted")
				}
			}
		}
		b.result.Rounds = round + 1
		if time.Since(begun)+time.Since(roundBegun) > b.o.limit {
			break // the next one would take as long
		}
	}
	b.tell("")
	return nil
}

// tell shows what is going on, in place of what it showed last.
func (b *bench) tell(format string, args ...any) {
	if b.o.progress != nil {
		fmt.Fprintf(b.o.progress, "\r\x1b[K"+format, args...)
	}
}

// startBackend starts the echo backend on the load's core.
func (b *bench) startBackend(ctx context.Context) (stop func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b.backend = ln.Addr().(*net.TCPAddr).Port
	_ = ln.Close()
	addr := "127.0.0.1:" + strconv.Itoa(b.backend)
	cmd := exec.CommandContext(ctx, "taskset", "-c", loadCore, b.sluice, "echo", "-listen", addr)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
	for range 100 {
		if conn, err := net.Dial("tcp", addr); err == nil {
			return stop, conn.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	return nil, fmt.Errorf("the backend doesn't listen at %s", addr)
}

func (b *bench) setup(workers int) peers.Setup {
	cores := gatewayCore
	if workers > 1 {
		cores = gatewayCore + "," + loadCore
	}
	return peers.Setup{Dir: b.dir, Sluice: b.sluice, Cores: cores, Workers: workers, Backend: b.backend}
}

// findPeers names what is missing.
func (b *bench) findPeers() {
	for _, p := range peers.All() {
		b.peers = append(b.peers, p)
		_, version, err := p.Find(b.setup(1))
		if err != nil {
			b.leaveOut(p.Name, err)
			continue
		}
		b.result.Peers = append(b.result.Peers, peerInfo{p.Name, version})
	}
}

func (b *bench) leaveOut(name string, err error) {
	fmt.Fprintf(os.Stderr, "%s is left out: %v\n", name, err)
	b.peers = slices.DeleteFunc(b.peers, func(p peers.Peer) bool { return p.Name == name })
	b.result.Peers = slices.DeleteFunc(b.result.Peers, func(p peerInfo) bool { return p.Name == name })
	b.result.Missing = append(b.result.Missing, missing{name, err.Error()})
}

// works returns what is to be measured, and puts a row for each figure into the result.
func (b *bench) works() (list []work, err error) {
	only, err := regexp.Compile(b.o.only)
	if err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	for _, w := range workList() {
		if b.o.isShort && !w.isShort || !only.MatchString(w.key) {
			b.result.Skipped = append(b.result.Skipped, w.title)
			continue
		}
		list = append(list, w)
		for _, f := range w.figures {
			b.result.Rows = append(b.result.Rows, &row{Work: w.key, Figure: f.key, Title: w.title, FigureTitle: f.title, Unit: f.unit, Cells: map[string]*cell{}})
		}
	}
	if len(list) == 0 {
		return nil, errors.New("nothing is left to be measured")
	}
	return list, nil
}

// sample takes one sample of a work. One that fails is counted, and told in the result.
func (b *bench) sample(ctx context.Context, w work, p peers.Peer, running *peers.Process) {
	if w.isFresh || w.workers > 1 {
		fresh, err := p.Start(ctx, b.setup(w.workers))
		if err != nil {
			b.result.fail(p.Name, w.title, err)
			return
		}
		defer fresh.Stop()
		running = fresh
	}
	report, err := b.load(ctx, w, running)
	if err != nil {
		b.result.fail(p.Name, w.title, err)
		return
	}
	for _, f := range w.figures {
		v := f.value(report)
		if v == nil {
			b.result.fail(p.Name, w.title, fmt.Errorf("no %s: nothing came in the time", f.title))
			continue
		}
		b.result.add(w.key, f.key, p.Name, *v)
	}
}

// load runs the load tool on its core.
func (b *bench) load(ctx context.Context, w work, p *peers.Process) (*load.Report, error) {
	url := "ws://127.0.0.1:" + strconv.Itoa(p.Plain) + "/"
	if w.isTLS {
		url = "wss://localhost:" + strconv.Itoa(p.TLS) + "/"
	}
	var pids []string
	for _, pid := range p.PIDs() {
		pids = append(pids, strconv.Itoa(pid))
	}
	args := append([]string{"-c", loadCore, b.sluice, "bench", "-json", "-url", url, "-pid", strings.Join(pids, ","),
		"-d", b.o.duration.String(), "-warmup", "300ms"}, w.args...)
	if w.isTLS {
		args = append(args, "-ca", filepath.Join(b.dir, "cert.pem"))
	}
	args = append(args, b.o.loadArgs...)
	ctx, cancel := context.WithTimeout(ctx, b.o.duration+60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "taskset", args...)
	// X25519 on all: the peers are told so, and what is offered decides with the others.
	cmd.Env = append(os.Environ(), "GODEBUG=tlsmlkem=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var report load.Report
	if jsonErr := json.Unmarshal(out, &report); jsonErr != nil {
		return nil, errors.Join(err, errors.New(strings.TrimSpace(stderr.String())))
	}
	if report.Errors > 0 {
		var kinds []string
		for kind, f := range report.ErrorsByKind {
			kinds = append(kinds, fmt.Sprintf("%d %s (%s)", f.Count, kind, f.First))
		}
		slices.Sort(kinds)
		return nil, errors.New(strings.Join(kinds, ", "))
	}
	return &report, err
}
