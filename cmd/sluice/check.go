package main

import (
	"flag"
	"fmt"

	"sluice/internal/config"
)

// check reports all problems of a configuration, including those that show only when it is built and gets requests. It starts nothing.
func check(c call) error {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	path := flags.String("config", "", "the configuration `FILE` (default ./"+defaultFile+")")
	if err := c.parseFlags(flags); err != nil {
		return err
	}
	switch rest := flags.Args(); {
	case len(rest) > 1:
		return unexpected(rest[1])
	case len(rest) == 1 && *path != "":
		return usageError{"the configuration is named twice"}
	case len(rest) == 1:
		*path = rest[0]
	case *path == "":
		*path = defaultFile
	}
	file, err := config.Load(*path)
	if err != nil {
		return configError{err}
	}
	for _, w := range file.Warnings {
		if _, err := fmt.Fprintln(c.stderr, w.Warning()); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(c.stdout, "%s: OK\n", *path)
	return err
}
