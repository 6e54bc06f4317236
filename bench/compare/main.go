// Command compare measures Sluice beside the gateways that are installed here: nginx, HAProxy, Caddy, and a relay in C that is the
// floor. It has to run in the root of the repository, as make does it:
//
//	make compare              whole, under 20 minutes
//	make compare-short        under 3 minutes, rougher
//
// Each gateway is pinned to core 0, the load and the backend to core 1; rounds are interleaved, so that drift of the machine hits all
// alike. It writes results.json, results.md and plots to -out. It installs nothing: a peer that is missing is named and left out. The
// exit code is 1 where samples failed, too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"sluice/bench/peers"
)

func main() {
	var o options
	flag.BoolVar(&o.isShort, "short", false, "fewer works, rounds and seconds")
	flag.StringVar(&o.out, "out", "", "`DIR` to write results to (default bench/results, with -short or -only bench/trial)")
	flag.StringVar(&o.only, "only", "", "measure only works whose key matches this `REGEXP`")
	flag.IntVar(&o.rounds, "rounds", 0, "samples of each figure (default 5, with -short 2, and fewer on a machine that is too slow for them)")
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
	out      string
	only     string
	rounds   int
	duration time.Duration
	progress io.Writer // a terminal; nil: nobody looks

	loadArgs    []string      // of sluice bench, behind those of each work: a test's
	limit       time.Duration // no round begins that would not end within it
	freshRounds int           // those in which memory is measured: it hardly differs from time to time, and takes long
}

func (o *options) setDefaults() {
	rounds, duration := 5, 1500*time.Millisecond
	o.freshRounds, o.limit = 2, 19*time.Minute
	if o.isShort {
		rounds, duration = 2, 500*time.Millisecond
		o.freshRounds, o.limit = 1, 170*time.Second
	}
	if o.rounds > 0 {
		o.limit = math.MaxInt64
	}
	if o.out == "" {
		o.out = "bench/results"
		if o.isShort || o.only != "" {
			o.out = "bench/trial" // what docs/benchmarks.md shows are whole runs
		}
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
		return fmt.Errorf("build sluice, in the root of the repository: %w: %s", err, out)
	}
	if err := peers.WriteCertificate(dir); err != nil {
		return err
	}
	b := &bench{o: o, dir: dir, sluice: sluice, result: newResult(ctx, o)}
	if err := b.run(ctx); err != nil {
		return err
	}
	if err := b.result.write(o.out); err != nil {
		return err
	}
	if len(b.result.Failed) > 0 {
		return errors.New("samples failed: the report names them")
	}
	return nil
}
