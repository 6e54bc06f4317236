package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"sluice/internal/admin"
)

// reload makes a running gateway read its configuration again.
func reload(c call) error {
	q := c.newAdminCall("reload")
	if _, err := q.parse(0); err != nil {
		return err
	}
	var applied admin.Reloaded
	err := q.send("POST", "/api/v1/reload", nil, &applied)
	var refused *refusal
	if errors.As(err, &refused) && refused.status == http.StatusUnprocessableEntity {
		return configError{err} // a line for each problem
	}
	if err != nil {
		return err
	}
	if q.isJSON {
		return q.printJSON(applied)
	}
	text := "the new configuration is in use"
	if len(applied.Waiting) > 0 {
		text += "; these changed keys wait for a restart: " + strings.Join(applied.Waiting, ", ")
	}
	_, err = fmt.Fprintln(q.stdout, text)
	return err
}
