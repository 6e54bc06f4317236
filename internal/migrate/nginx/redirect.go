package nginx

import (
	"strconv"
	"strings"
)

// redirectHTTPS returns what makes the server redirect every request to the same address with https; nil: it does something else, too.
func (s *server) redirectHTTPS(*reader) *directive {
	for _, d := range s.level.block {
		switch d.name {
		case "return", "rewrite":
			if isToHTTPS(d) {
				return d
			}
			return nil
		case "if":
			return nil
		}
	}
	var all *directive
	for _, d := range s.level.block {
		if d.name != "location" {
			continue
		}
		if d.arg(0) != "/" || all != nil || len(d.args) != 1 || len(d.block) != 1 || !isToHTTPS(d.block[0]) {
			return nil
		}
		d.isRead = true
		all = d.block[0]
	}
	return all
}

// isToHTTPS reports whether a return or rewrite leads to the same address with https.
func isToHTTPS(d *directive) bool {
	to := ""
	switch {
	case d.name == "return":
		to = d.arg(len(d.args) - 1)
		if code, err := strconv.Atoi(d.arg(0)); err == nil && (len(d.args) < 2 || !isRedirect(code) || code == 303) {
			return false
		}
	case d.name == "rewrite" && wholePath.MatchString(d.arg(0)):
		to = strings.Replace(d.arg(1), wholePath.FindStringSubmatch(d.arg(0))[1]+"$1", "$request_uri", 1)
	case d.name == "rewrite" && d.arg(0) == "^":
		to = strings.TrimSuffix(d.arg(1), "?")
	}
	return to == "https://$host$request_uri" || to == "https://$http_host$request_uri"
}
