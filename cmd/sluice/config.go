package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
)

// showConfig prints the configuration that a gateway runs, as TOML or as the API answers it.
func showConfig(c call) error {
	q := c.newAdminCall("config")
	if _, err := q.parse(0); err != nil {
		return err
	}
	query := url.Values{}
	if !q.isJSON {
		query.Set("format", "toml")
	}
	text, err := q.fetch("GET", "/api/v1/config", query)
	if err != nil {
		return err
	}
	if q.isJSON {
		var indented bytes.Buffer
		if err := json.Indent(&indented, text, "", "  "); err != nil {
			return fmt.Errorf("the answer of %s is not that of a gateway", q.address)
		}
		text = indented.Bytes()
	}
	_, err = q.stdout.Write(text)
	return err
}
