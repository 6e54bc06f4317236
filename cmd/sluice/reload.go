package main

import (
	"errors"
	"fmt"
	"net/http"
)

// reload makes a running gateway read its configuration again.
func reload(c call) error {
	q := c.newAdminCall("reload")
	if _, err := q.parse(0); err != nil {
		return err
	}
	var applied map[string]string
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
	_, err = fmt.Fprintln(q.stdout, "the new configuration is in use")
	return err
}
