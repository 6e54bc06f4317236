package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sluice/internal/config"
	"sluice/internal/migrate"
	"sluice/internal/migrate/caddy"
	"sluice/internal/migrate/haproxy"
	"sluice/internal/migrate/nginx"
	"sluice/internal/migrate/traefik"
)

// importers returns the functions that read the configuration of another proxy, by its name.
func importers() map[string]func(files []string) (*migrate.Draft, error) {
	return map[string]func([]string) (*migrate.Draft, error){
		"caddy":   caddy.Read,
		"haproxy": haproxy.Read,
		"nginx":   nginx.Read,
		"traefik": traefik.Read,
	}
}

// importFrom prints the configuration of another proxy as one of Sluice.
func importFrom(c call) error {
	flags := flag.NewFlagSet("import", flag.ContinueOnError)
	names := slices.Sorted(maps.Keys(importers()))
	from := flags.String("from", "", "the `PROXY` of the configuration: "+strings.Join(names, ", "))
	if err := c.parseFlags(flags); err != nil {
		return err
	}
	read, isKnown := importers()[*from]
	switch {
	case *from == "":
		return usageError{"-from is missing"}
	case !isKnown:
		return usageError{fmt.Sprintf("-from %s: want one of %s", *from, strings.Join(names, ", "))}
	case flags.NArg() == 0:
		return usageError{"FILE is missing"}
	}
	draft, err := read(flags.Args())
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := draft.WriteTOML(&text); err != nil {
		return err
	}
	if _, err := c.stdout.Write(text.Bytes()); err != nil {
		return err
	}
	if err := draft.WriteSkipped(c.stderr); err != nil {
		return err
	}
	if err := c.checkDraft(draft, text.Bytes()); err != nil {
		return err
	}
	if n := len(draft.LessStrict()); n > 0 {
		return fmt.Errorf("the draft is less strict than the original because of %d directives: the list above begins with them", n)
	}
	return nil
}

// checkDraft reports the problems of a draft. That files which it names don't exist here is none: it may be imported elsewhere.
func (c call) checkDraft(draft *migrate.Draft, text []byte) error {
	_, err := config.Parse("the draft", text)
	if err == nil {
		return nil
	}
	if _, err := fmt.Fprintf(c.stderr, "%v\n", err); err != nil {
		return err
	}
	var without bytes.Buffer
	if err := draft.WithoutFiles().WriteTOML(&without); err != nil {
		return err
	}
	if _, err := config.Parse("the draft", without.Bytes()); err != nil {
		return errors.New("the draft has the problems above: correct them there")
	}
	return nil
}
