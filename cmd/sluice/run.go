package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"strings"

	"github.com/hashicorp/go-multierror"
	"github.com/pelletier/go-toml/v2"

	"sluice/gateway"
	"sluice/internal/config"
)

// defaultFile is the configuration that run reads without flags.
const defaultFile = "sluice.toml"

// run serves until a signal comes, and then drains, or until a process that an upgrade has started has taken over.
func run(c call) error {
	program, err := newProgram()
	if err != nil {
		return err
	}
	defer program.close()
	file, path, err := c.readConfig()
	if err != nil {
		program.refuse(err)
		return err
	}
	ctx, stop := untilSignal()
	defer stop()
	g, err := program.newGateway(file, gateway.Options{Path: path, Stderr: c.stderr})
	if err != nil {
		program.refuse(err)
		return err
	}
	stopSignals := obeySignals(g, path != "")
	defer stopSignals() // after the drain, which a hang-up must not cut short
	return g.Run(ctx)
}

// readConfig returns the configuration that the flags of run describe, and its file's path; "": there is no file.
func (c call) readConfig() (file *config.File, path string, err error) {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	named := flags.String("config", "", "the configuration `FILE` (default ./"+defaultFile+")")
	to := flags.String("to", "", "run without a configuration file, with these backends: `ADDR[,ADDR…]`")
	listen := flags.String("listen", "127.0.0.1:8080", "with -to: listen at this `ADDR`, host:port or unix:/path")
	secure := flags.Bool("tls", false, "with -to: use TLS, with a certificate made for this run")
	if err := c.parse(flags); err != nil {
		return nil, "", err
	}
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	switch {
	case given["config"] && given["to"]:
		return nil, "", usageError{"-config and -to can't be combined"}
	case given["listen"] && !given["to"]:
		return nil, "", usageError{"-listen needs -to; with a configuration file, set address of its [[listener]]"}
	case given["tls"] && !given["to"]:
		return nil, "", usageError{"-tls needs -to; with a configuration file, set its [listener.tls]"}
	case given["to"]:
		file, err = config.Parse("", quickConfig(*listen, *secure, strings.Split(*to, ",")))
		return file, "", ofFlags(err)
	case given["config"]:
		file, err = checked(config.Load(*named))
		return file, *named, err
	}
	file, err = config.Load(defaultFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", usageError{"there is no ./" + defaultFile + " here, and neither -config nor -to is set.\n" +
			"Try `sluice run -to 127.0.0.1:9000` with a backend at that address, try `sluice demo`,\n" +
			"or copy config.example.toml to ./" + defaultFile + "."}
	}
	file, err = checked(file, err)
	return file, defaultFile, err
}

// checked marks an error as a mistake in the configuration.
func checked(file *config.File, err error) (*config.File, error) {
	if err != nil {
		return nil, configError{err}
	}
	return file, nil
}

// ofFlags returns the problems of quickConfig's text, which the operator doesn't see, as problems of the flags.
func ofFlags(err error) error {
	if err == nil {
		return nil
	}
	var lines []string
	for _, err := range multierror.Append(nil, err).Errors {
		var p config.Problem
		if !errors.As(err, &p) {
			return err
		}
		name := "-to"
		if strings.HasPrefix(p.Key, "listener") {
			name = "-listen"
		}
		lines = append(lines, fmt.Sprintf("%s: %s, got %s (want %s)", name, p.Text, p.Got, p.Want))
	}
	return usageError{strings.Join(lines, "\n")}
}

// quickConfig writes the configuration that -to, -listen and -tls describe, so that it is read and checked like any other.
func quickConfig(listen string, isSecure bool, backends []string) []byte {
	type backend struct {
		Address string `toml:"address"`
	}
	type section map[string]any
	list := make([]backend, len(backends))
	for i, address := range backends {
		list[i].Address = strings.TrimSpace(address)
	}
	listener := section{"name": "quick", "address": listen}
	if isSecure {
		listener["tls"] = section{"self_signed": true}
	}
	text, err := toml.Marshal(map[string][]section{
		"listener": {listener},
		"route":    {{"pool": "quick"}},
		"pool":     {{"name": "quick", "backend": list}},
	})
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return text
}
