package nginx

import (
	"path/filepath"
	"slices"
	"testing"

	"sluice/internal/migrate"
)

// readWith are directives that have no line of their own in a draft: they say something about others.
var readWith = map[string]string{
	"set":                 "the value of a variable stands where it is used",
	"real_ip_header":      "proxy_protocol or trusted_proxies has the lines of set_real_ip_from",
	"real_ip_recursive":   "as real_ip_header",
	"limit_conn_zone":     "limit_conn has the line",
	"server_name":         "a server with \"_\" is the default one: its routes have no host",
	"if":                  "what is in it has the line",
	"ssl_certificate":     "the same certificate of another server has the line",
	"ssl_certificate_key": "as ssl_certificate",
}

func TestNoDirectiveIsDroppedInSilence(t *testing.T) {
	mains, err := filepath.Glob("testdata/*/nginx.conf")
	if err != nil || len(mains) == 0 {
		t.Fatalf("no testdata/*/nginx.conf: %v", err)
	}
	for _, main := range mains {
		draft, err := Read([]string{main})
		if err != nil {
			t.Fatal(err)
		}
		named := draft.Mentioned()
		top, err := parse(main, &migrate.Draft{})
		if err != nil {
			t.Fatal(err)
		}
		var look func(block []*directive)
		look = func(block []*directive) {
			for _, d := range block {
				isFrame := d.name == "http" || d.name == "server" && d.hasBlock || d.name == "location"
				if isListed(draft, d) {
					continue
				}
				if !named[d.place] && !isFrame && readWith[d.name] == "" {
					t.Errorf("%v: %s is neither written nor listed", d.place, d)
				}
				if isFrame || d.name == "upstream" {
					look(d.block)
				}
			}
		}
		look(top)
	}
}

// isListed reports whether a draft lists a directive as skipped.
func isListed(draft *migrate.Draft, d *directive) bool {
	return slices.ContainsFunc(draft.Skipped, func(s migrate.Skipped) bool { return s.From == d.place && s.Text == d.String() })
}
