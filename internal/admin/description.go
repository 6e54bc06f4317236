package admin

import (
	_ "embed" // openapi.json
	"net/http"
)

//go:embed openapi.json
var description []byte

// handleDescription serves the description of the API. A test checks every answer against it.
func handleDescription(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(description)
}
