package main

import (
	"fmt"
	"net/url"

	"sluice/internal/admin"
	"sluice/proxy"
)

// drain takes a backend of a running gateway out of use, or back in.
func drain(c call) error {
	q := c.newAdminCall("drain")
	over := q.flags.String("over", "", "spread the closes of its sessions over `TIME`, such as 30s (default: at once)")
	isUndone := q.flags.Bool("undo", false, "end a drain: the backend gets sessions again")
	arguments, err := q.parse(2)
	switch {
	case err != nil:
		return err
	case len(arguments) < 2:
		return usageError{"the pool and the backend's address are missing; `sluice status` lists both"}
	case *isUndone && *over != "":
		return usageError{"-over and -undo can't be combined"}
	}
	action, query := "drain", url.Values{}
	if *isUndone {
		action = "undrain"
	}
	if *over != "" {
		query.Set("over", *over)
	}
	if _, err := admin.ReadOver(query); err != nil {
		return usageError{err.Error()}
	}
	var backend proxy.BackendView
	path := fmt.Sprintf("/api/v1/pools/%s/backends/%s/%s", url.PathEscape(arguments[0]), url.PathEscape(arguments[1]), action)
	if err := q.send("POST", path, query, &backend); err != nil {
		return err
	}
	if q.isJSON {
		return q.printJSON(backend)
	}
	_, err = fmt.Fprintf(q.stdout, "backend %s of pool %s: %s, %d sessions\n", backend.Address, arguments[0], stateOf(&backend), backend.Sessions)
	return err
}
