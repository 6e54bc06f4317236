// Command sluice is a WebSocket gateway: it stands in front of existing WebSocket services, balances sessions over pools of backends,
// and relays frames both ways while it handles ping and close itself. Package gateway is the gateway. This package has the commands, each
// in a file of its own name, their help, signals and output.
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
	// net/http writes a few lines here that it can't write elsewhere, some with bytes of a backend. They must not mix with the log's JSON.
	log.SetOutput(io.Discard)
	os.Exit(dispatch(os.Args[1:], os.Stdout, os.Stderr))
}

// commands returns the commands of sluice.
func commands() []command {
	return []command{
		{"run", "run [-config FILE] | -to ADDR[,ADDR…] [-listen ADDR] [-tls]", "run the gateway with a configuration file, or with -to without one", run},
		{"check", "check [FILE]", "report all problems of a configuration", check},
		{"import", "import -from PROXY FILE…", "print the configuration of another proxy as one of Sluice", importFrom},
		{"demo", "demo", "run three echo backends, the gateway and a test page", runDemo},
		{"echo", "echo [-listen ADDR]", "run an echo backend", runEcho},
		{"bench", "bench [-mode MODE] -url URL [-c N] [-d TIME] …", "put load on a WebSocket URL and measure it", runBench},
		{"status", "status [-admin ADDR] [-health] [-json]", "show the listeners, routes, pools and backends of a running gateway", status},
		{"sessions", "sessions [ID] [-route NAME] [-idle TIME] [-close] …", "list, show or close live sessions", sessions},
		{"drain", "drain POOL BACKEND [-over TIME] [-undo]", "take a backend out of use, or put it back", drain},
		{"config", "config [-admin ADDR] [-json]", "show the configuration that a running gateway uses", showConfig},
		{"reload", "reload [-admin ADDR]", "reload the configuration of a running gateway", reload},
		{"upgrade", "upgrade [-admin ADDR]", "start the program anew and hand the live sessions over to it", upgrade},
		{"schema", "schema", "print a JSON schema of the configuration, for editors", schema},
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
		fmt.Fprintf(w, "  sluice %-60s %s\n", c.usage, c.summary)
	}
	fmt.Fprint(w, "\n`sluice COMMAND -h` explains a command and its flags.\nexit codes: 0 success, 1 failure while running, 2 wrong usage or configuration\n")
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
		printHelp(c.stdout, flags)
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
