package admin

import (
	_ "embed" // openapi.json
	"net/http"
)

//go:embed openapi.json
var description []byte

// handleDescription tells what the API is. A test holds every answer against it.
func handleDescription(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(description)
}
