package main

import (
	"flag"
	"fmt"

	"sluice/gateway"
)

// version prints the build of this program.
func version(c call) error {
	if err := c.parse(flag.NewFlagSet("version", flag.ContinueOnError)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.stdout, "sluice %s\n", gateway.ReadBuild())
	return err
}
