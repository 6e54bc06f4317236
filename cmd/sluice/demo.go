package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"sync"

	"sluice/cmd/sluice/internal/demo"
	"sluice/gateway"
	"sluice/internal/config"
	"sluice/internal/echo"
)

// errPanicked is the error of a part of the demo that a panic ended.
var errPanicked = errors.New("the demo panicked; the log has the stack")

// demoBackends is how many echo backends the demo has.
const demoBackends = 3

// runDemo serves a page, the gateway and echo backends on loopback until a signal comes.
func runDemo(c call) error {
	if err := c.parse(flag.NewFlagSet("demo", flag.ContinueOnError)); err != nil {
		return err
	}
	ctx, stop := untilSignal()
	defer stop()
	return serveDemo(ctx, c.stdout, c.stderr)
}

// serveDemo serves until ctx ends. The first line that it writes to stdout is the page's URL.
func serveDemo(ctx context.Context, stdout, stderr io.Writer) error {
	listeners, err := listenLoopback(demoBackends + 1)
	if err != nil {
		return err
	}
	page, backends := listeners[0], listeners[1:]
	g, err := gateway.New(demoConfig(backends), gateway.Options{Stderr: stderr})
	if err != nil {
		closeAll(listeners)
		return err
	}
	address := g.Addr(demoListener)
	port := address.(*net.TCPAddr).Port

	// The backends and the page end after the gateway, so that the backends see its drain. If one of them fails, all end.
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	parts, stopParts := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i, listener := range backends {
		running.Go(func() {
			err := errPanicked
			g.Panics().Guard(room, func() {
				err = echo.Serve(parts, listener, echo.Options{Greeting: demo.Greeting(i+1, listener.Addr()), Loops: 1})
			})
			if err != nil {
				fail(err)
			}
		})
	}
	running.Go(func() {
		err := errPanicked
		g.Panics().Guard(room, func() { err = demo.Serve(parts, page, port) })
		if err != nil {
			fail(err)
		}
	})
	_, err = fmt.Fprintf(stdout, "http://%s/\nthe page is above; the gateway is ws://%s/, its dashboard http://%s/; Ctrl-C ends it\n",
		page.Addr(), address, g.AdminAddr())
	if err != nil {
		fail(err)
	}
	err = g.Run(ctx)
	stopParts()
	running.Wait()
	if cause := context.Cause(ctx); cause != context.Canceled {
		return cause
	}
	return err
}

// demoListener is the name of the demo's listener.
const demoListener = "demo"

// demoConfig returns the demo's configuration. Each session gets the next backend, so that a second connection shows another one. A stop
// waits for no session.
func demoConfig(backends []net.Listener) *config.File {
	text := `
[gateway]
drain = "0s"
[admin]
address = "127.0.0.1:0"
[log]
format = "console"
[[listener]]
name = "` + demoListener + `"
address = "127.0.0.1:0"
[[route]]
pool = "demo"
[[pool]]
name = "demo"
policy = "round_robin"
`
	for _, backend := range backends {
		text += fmt.Sprintf("[[pool.backend]]\naddress = %q\n", backend.Addr())
	}
	file, err := config.Parse("demo.toml", []byte(text))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return file
}

// listenLoopback opens that many listeners at loopback ports of the kernel's choice.
func listenLoopback(count int) ([]net.Listener, error) {
	var listeners []net.Listener
	for range count {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			closeAll(listeners)
			return nil, err
		}
		listeners = append(listeners, listener)
	}
	return listeners, nil
}

func closeAll(listeners []net.Listener) {
	for _, listener := range listeners {
		_ = listener.Close()
	}
}
