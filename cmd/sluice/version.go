package main

import (
	"flag"
	"fmt"
	"runtime/debug"
)

// version tells which build this is.
func version(c call) error {
	if err := c.parse(flag.NewFlagSet("version", flag.ContinueOnError)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c.stdout, "sluice %s\n", readBuild())
	return err
}

// A build says where the program comes from, as far as the toolchain noted it.
type build struct {
	version   string // of the module; "(devel)" from a checkout
	revision  string // of the repository; empty: not noted
	isChanged bool   // the checkout had changes beyond the revision
	goVersion string
}

// String returns the build on one line.
func (b build) String() string {
	revision := ""
	if b.revision != "" {
		revision = " revision " + b.revision
	}
	if b.isChanged {
		revision += " with changes"
	}
	return b.version + revision + " " + b.goVersion
}

// readBuild returns what the toolchain noted in the program.
func readBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return build{version: "unknown", goVersion: "go unknown"}
	}
	return buildOf(info)
}

func buildOf(info *debug.BuildInfo) build {
	b := build{version: info.Main.Version, goVersion: info.GoVersion}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			b.revision = setting.Value
		case "vcs.modified":
			b.isChanged = setting.Value == "true"
		}
	}
	return b
}
