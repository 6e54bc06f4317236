package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"strings"

	"sluice/internal/echo"
)

// runEcho runs an echo backend until a signal comes.
func runEcho(c call) error {
	flags := flag.NewFlagSet("echo", flag.ContinueOnError)
	address := flags.String("listen", "127.0.0.1:9000", "listen at this `ADDR`, host:port or unix:/path")
	if err := c.parse(flags); err != nil {
		return err
	}
	network := "tcp"
	if path, isUnix := strings.CutPrefix(*address, "unix:"); isUnix {
		network, *address = "unix", path
	}
	listener, err := net.Listen(network, *address)
	if _, isWrong := errors.AsType[*net.AddrError](err); isWrong {
		return usageError{fmt.Sprintf("-listen %s is not an address: %v", *address, err)}
	}
	if err != nil {
		return err
	}
	ctx, stop := untilSignal()
	defer stop()
	if _, err := fmt.Fprintf(c.stdout, "echo backend at %s\n", listener.Addr()); err != nil {
		return err
	}
	return echo.Serve(ctx, listener, echo.Options{})
}
