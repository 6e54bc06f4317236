package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"time"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

//go:embed page.js
var pageScript string

// Greeting returns the text by which an echo backend of the demo names itself at the start of a
// session; the page's script knows it by this form.
func Greeting(number int, address net.Addr) string {
	return fmt.Sprintf("hello from backend %d at %s", number, address)
}

// Serve serves the page on listener until ctx ends, and closes it. gatewayPort is where the page's
// script finds the gateway.
func Serve(ctx context.Context, listener net.Listener, gatewayPort int) error {
	server := &http.Server{
		Handler:           newHandler(gatewayPort),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      10 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the demo page: %w", err)
	}
	return nil
}

// newHandler answers GET / with the page and all else with 404.
func newHandler(gatewayPort int) http.Handler {
	page := template.Must(template.New("page").Parse(pageText))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		nonce := rand.Text()
		var body bytes.Buffer
		err := page.Execute(&body, map[string]any{
			"GatewayPort": gatewayPort,
			"Nonce":       nonce,
			"Style":       template.CSS(pageStyle),
			"Script":      template.JS(pageScript),
		})
		if err != nil {
			panic("BUG: " + err.Error())
		}
		header := w.Header()
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Cache-Control", "no-store")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		// The page loads nothing; it may only connect, to wherever its user says.
		header.Set("Content-Security-Policy", "default-src 'none'; connect-src ws: wss:; img-src data:; base-uri 'none'; form-action 'none'; "+
			"frame-ancestors 'none'; style-src 'nonce-"+nonce+"'; script-src 'nonce-"+nonce+"'")
		// An error here is a browser that left.
		_, _ = body.WriteTo(w)
	})
	return mux
}
