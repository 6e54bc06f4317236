// Command sluice is a WebSocket gateway: it stands in front of existing WebSocket services, balances sessions over pools of backends,
// and relays frames both ways while it handles ping and close itself. Package gateway is the gateway; here are the commands, each in a
// file of its own name, signals and output.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/hashicorp/go-multierror"
)

func main() {
	// net/http writes a few lines here that it has no other way for, some with a backend's bytes: they would stand among the log's JSON.
	log.SetOutput(io.Discard)
	os.Exit(dispatch(os.Args[1:], os.Stdout, os.Stderr))
}

// commands returns the commands of sluice.
func commands() []command {
	return []command{
		{"run", "run [-config FILE] | -to ADDR[,ADDR…] [-listen ADDR] [-tls]", "serve a configuration, or just some backends", run},
		{"check", "check -config FILE", "report all problems of a configuration", check},
		{"demo", "demo", "run backends, the gateway and a page to try it", runDemo},
		{"echo", "echo [-listen ADDR]", "run an echo backend", runEcho},
		{"bench", "bench [-mode MODE] -url URL [-c N] [-d TIME] …", "put load on a WebSocket URL and measure it", runBench},
		{"status", "status [-admin ADDR] [-health] [-json]", "show the listeners, routes and backends of a running gateway", status},
		{"sessions", "sessions [ID] [-route NAME] [-idle TIME] [-close] …", "list, show or close its live sessions", sessions},
		{"drain", "drain POOL BACKEND [-over TIME] [-undo]", "take one of its backends out of use, or put it back", drain},
		{"reload", "reload [-admin ADDR]", "reload its configuration", reload},
		{"upgrade", "upgrade [-admin ADDR]", "start its program anew and hand the live sessions over", upgrade},
		{"version", "version", "print the build of this program", version},
	}
}

// A command is one command of sluice.
type command struct {
	name    string
	usage   string
	summary string
	run     func(call) error
}

// A call is one use of a command. Its output goes to stdout, everything else to stderr.
type call struct {
	args   []string
	stdout io.Writer
	stderr io.Writer
}

// Exit codes.
const (
	exitClean   = 0
	exitFailure = 1 // something went wrong while running
	exitUsage   = 2 // the arguments or the configuration are wrong: nothing was started
)

// A usageError is a mistake in the arguments.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// A configError is a mistake in the configuration. It is printed as its problems, one per line.
type configError struct{ problems error }

func (e configError) Error() string { return e.problems.Error() }

// dispatch runs the command that the arguments name, and returns the exit code.
func dispatch(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		printUsage(stderr)
		return exitUsage
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		printUsage(stdout)
		return exitClean
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.exitCode(c.run(call{args[1:], stdout, stderr}), stderr)
		}
	}
	fmt.Fprintf(stderr, "sluice: unknown command %q; `sluice help` lists the commands\n", args[0])
	return exitUsage
}

// exitCode prints the error of a command, and returns the exit code for it.
func (c command) exitCode(err error, stderr io.Writer) int {
	var usage usageError
	var config configError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitClean
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "sluice %s: %v\nusage: sluice %s\n", c.name, err, c.usage)
		return exitUsage
	case errors.As(err, &config):
		fmt.Fprintln(stderr, err)
		return exitUsage
	default:
		for _, err := range multierror.Append(nil, err).Errors {
			fmt.Fprintf(stderr, "sluice %s: %v\n", c.name, err)
		}
		return exitFailure
	}
}

func printUsage(w io.Writer) {
	fmt.Fprint(w, "Sluice is a WebSocket gateway.\n\nusage:\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  sluice %-56s %s\n", c.usage, c.summary)
	}
	fmt.Fprint(w, "\n`sluice COMMAND -h` lists the flags of a command.\nexit codes: 0 clean, 1 failure while running, 2 wrong usage or configuration\n")
}

// parse reads the flags of a call that takes no other arguments.
func (c call) parse(flags *flag.FlagSet) error {
	if err := c.parseFlags(flags); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return unexpected(flags.Arg(0))
	}
	return nil
}

// parseFlags reads flags up to the first argument that is not a flag.
func (c call) parseFlags(flags *flag.FlagSet) error {
	flags.SetOutput(io.Discard) // dispatch prints the error
	err := flags.Parse(c.args)
	if errors.Is(err, flag.ErrHelp) {
		flags.SetOutput(c.stdout)
		flags.Usage()
		return err
	}
	if err != nil {
		return usageError{err.Error()}
	}
	return nil
}

func unexpected(argument string) error {
	return usageError{fmt.Sprintf("unexpected argument %q", argument)}
}
