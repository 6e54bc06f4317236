package main

import (
	"flag"

	"sluice/internal/config"
)

// schema prints the JSON schema of the configuration.
func schema(c call) error {
	if err := c.parse(flag.NewFlagSet("schema", flag.ContinueOnError)); err != nil {
		return err
	}
	_, err := c.stdout.Write(config.Schema())
	return err
}
