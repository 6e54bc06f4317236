package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"sluice/gateway"
	"sluice/handover"
	"sluice/internal/config"
	"sluice/internal/systemd"
)

// A program is what this process was started by and with: what systemd and a process before it have given it, and how another is started in
// the same way.
type program struct {
	path     string // absolute; "": not known
	args     []string
	environ  []string // without what was given to this process alone
	before   *handover.Conn
	sockets  *systemd.Sockets
	notifier systemd.Notifier
}

// newProgram takes what this process was given out of its environment.
func newProgram() (*program, error) {
	p := &program{path: pathOf(os.Args[0]), args: os.Args}
	var err error
	if p.before, err = gateway.OpenHandover(); err != nil {
		return nil, err
	}
	if p.sockets, err = systemd.NewSockets(); err != nil {
		return nil, fmt.Errorf("socket activation: %w", err)
	}
	p.notifier = systemd.NewNotifier()
	p.environ = slices.Concat(os.Environ(), p.notifier.Environment())
	return p, nil
}

// pathOf returns the absolute path of the program's file, at which an upgrade looks for the new one; "": it is not found.
func pathOf(name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	if path, err = filepath.Abs(path); err != nil {
		return ""
	}
	return path
}

// newGateway is gateway.New with what the process was given.
func (p *program) newGateway(file *config.File, options gateway.Options) (*gateway.Gateway, error) {
	options.Sockets, options.Notifier, options.Handover = p.sockets, p.notifier, p.before
	if p.path != "" {
		options.Successor = p.again
	}
	return gateway.New(file, options)
}

// again returns the command that starts the program as this process was started.
func (p *program) again() *exec.Cmd {
	return &exec.Cmd{Path: p.path, Args: p.args, Env: slices.Clone(p.environ), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
}

// refuse reports to the process before why this one can't take over.
func (p *program) refuse(why error) { gateway.RefuseHandover(p.before, why) }

// close closes the connection to the process before.
func (p *program) close() {
	if p.before != nil {
		_ = p.before.Close()
	}
}
