package dashboard

import (
	"bytes"
	"crypto/rand"
	"embed"
	"html/template"
	"maps"
	"net/http"
	"strings"
)

//go:embed *.html *.css *.js uplot
var files embed.FS

// What is in the page, in this order. The scripts are one scope.
var (
	styles  = []string{"uplot/uPlot.min.css", "page.css"}
	charts  = []string{"uplot/uPlot.iife.min.js"}
	scripts = []string{
		"format.js", "rows.js", "api.js", "history.js", "plots.js", "pools.js", "sessions.js", "closes.js", "page.js",
	}
)

// Handler serves the page. It holds no data. With needsToken the page asks its user for the token that the API requires.
func Handler(needsToken bool) http.HandlerFunc {
	page := template.Must(template.ParseFS(files, "page.html"))
	parts := map[string]any{
		"NeedsToken": needsToken, "Style": template.CSS(join(styles)), "Charts": template.JS(join(charts)), "Script": template.JS(join(scripts)),
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		nonce := rand.Text()
		var body bytes.Buffer
		filled := maps.Clone(parts)
		filled["Nonce"] = nonce
		if err := page.Execute(&body, filled); err != nil {
			panic("BUG: " + err.Error())
		}
		header := w.Header()
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Referrer-Policy", "no-referrer")
		// The page loads nothing, and asks the listener that it came from alone.
		header.Set("Content-Security-Policy", "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "+
			"frame-ancestors 'none'; style-src 'nonce-"+nonce+"'; script-src 'nonce-"+nonce+"'")
		// An error here is a browser that left.
		_, _ = body.WriteTo(w)
	}
}

// join returns the contents of files, one after the other.
func join(names []string) string {
	var text strings.Builder
	for _, name := range names {
		file, err := files.ReadFile(name)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		text.Write(file)
		text.WriteByte('\n')
	}
	return text.String()
}
