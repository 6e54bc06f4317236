package main

import (
	"flag"
	"fmt"

	"sluice/internal/config"
)

// check reports all problems of a configuration, including those that show only when it is built and gets requests. It starts nothing.
func check(c call) error {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	path := flags.String("config", "", "the configuration `FILE`")
	if err := c.parse(flags); err != nil {
		return err
	}
	if *path == "" {
		return usageError{"-config is missing"}
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
