// Command compare measures Sluice beside the gateways that are installed here: nginx, HAProxy, Caddy, and a relay in C that is the
// floor. Run it in the module's root:
//
//	go run ./bench/compare            whole, under 20 minutes
//	go run ./bench/compare -short     under 3 minutes, rougher
//
// Each gateway is pinned to core 0, the load and the backend to core 1; rounds are interleaved, so that drift of the machine hits all
// alike. It writes results.json, results.md and plots to -out. It installs nothing: a peer that is missing is named and left out.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	var o options
	flag.BoolVar(&o.isShort, "short", false, "fewer works, rounds and seconds")
	flag.StringVar(&o.out, "out", "bench/results", "`DIR` to write results to")
	flag.BoolVar(&o.hasTLS, "tls", false, "measure over TLS too: for a Sluice that has [listener.tls]")
	flag.StringVar(&o.only, "only", "", "measure only works whose key matches this `REGEXP`")
	flag.IntVar(&o.rounds, "rounds", 0, "samples of each figure (default 5, with -short 2)")
	flag.DurationVar(&o.duration, "d", 0, "how long one sample takes (default 1.5s, with -short 500ms)")
	flag.Parse()
	o.setDefaults()
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		o.progress = os.Stderr
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		stop()
		os.Exit(1)
	}
}

type options struct {
	isShort  bool
	hasTLS   bool
	out      string
	only     string
	rounds   int
	duration time.Duration
	progress io.Writer // a terminal; nil: nobody looks
}

func (o *options) setDefaults() {
	rounds, duration := 5, 1500*time.Millisecond
	if o.isShort {
		rounds, duration = 2, 500*time.Millisecond
	}
	if o.rounds <= 0 {
		o.rounds = rounds
	}
	if o.duration <= 0 {
		o.duration = duration
	}
}

func run(ctx context.Context, o options) error {
	if _, err := exec.LookPath("taskset"); err != nil {
		return errors.New("taskset (util-linux) is needed to pin processes to cores")
	}
	dir, err := os.MkdirTemp("", "sluice-compare-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	sluice := filepath.Join(dir, "sluice")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", sluice, "./cmd/sluice").CombinedOutput(); err != nil {
		return fmt.Errorf("build sluice, in the module's root: %w: %s", err, out)
	}
	if err := writeCertificate(dir); err != nil {
		return err
	}
	b := &bench{o: o, dir: dir, sluice: sluice, result: newResult(ctx, o)}
	if err := b.run(ctx); err != nil {
		return err
	}
	return b.result.write(o.out)
}
