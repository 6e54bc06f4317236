package haproxy

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"sluice/internal/migrate"
)

// fetches are the sample expressions of HAProxy that a placeholder stands for.
var fetches = map[string]string{
	"src": "{client_ip}", "ci": "{client_ip}", "path": "{path}", "pathq": "{uri}", "query": "{query}", "url": "{uri}", "method": "{method}",
	"hdr(host)": "{hostport}", "req.hdr(host)": "{hostport}", "base": "{hostport}{path}", "capture.req.uri": "{uri}", "capture.req.method": "{method}",
	"dst_port": "{port}", "fp": "{port}", "unique-id": "{request_id}", "uuid()": "{request_id}", "uuid": "{request_id}", "id": "{request_id}",
	"ssl_fc_sni": "{sni}", "ssl_fc_protocol": "{tls_version}", "sslv": "{tls_version}", "ssl_c_s_dn": "{subject}",
	"host_only": "{host}", "hu": "{uri}", "hp": "{path}", "hq": "{query}", "hm": "{method}",
	"hdr(host),field(1,:)": "{host}", "req.hdr(host),field(1,:)": "{host}", "hdr(host),host_only": "{host}", "req.hdr(host),host_only": "{host}",
	"hdr(host),lower": "{hostport}", "req.hdr(host),lower": "{hostport}",
}

// template returns a format string of HAProxy with placeholders instead of expressions.
func template(format string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(format); i++ {
		c := format[i]
		switch {
		case c == '$' && strings.HasPrefix(format[i:], "${"):
			end := strings.IndexByte(format[i:], '}')
			if end < 0 {
				end = len(format) - i - 1
			}
			out.WriteString(format[i : i+end+1])
			i += end
		case c == '{':
			out.WriteString("{{")
		case c != '%':
			out.WriteByte(c)
		case strings.HasPrefix(format[i:], "%%"):
			out.WriteByte('%')
			i++
		case strings.HasPrefix(format[i:], "%["):
			inner, _, isClosed := strings.Cut(format[i+2:], "]")
			placeholder := fetches[strings.ToLower(strings.ReplaceAll(inner, " ", ""))]
			if !isClosed || placeholder == "" {
				return "", fmt.Errorf("%%[%s] has no placeholder", inner)
			}
			out.WriteString(placeholder)
			i += len(inner) + 2
		default:
			name := i + 1
			for name < len(format) && isLetterOrDigit(format[name]) {
				name++
			}
			placeholder := fetches[strings.ToLower(format[i+1:name])]
			if placeholder == "" || len(format[i+1:name]) > 2 && format[i+1:name] != "sslv" {
				return "", fmt.Errorf("%s has no placeholder", format[i:name])
			}
			out.WriteString(placeholder)
			i = name - 1
		}
	}
	return out.String(), nil
}

// duration returns a time of HAProxy, which is in milliseconds unless it has a unit, as the configuration has it.
func duration(text string) (string, error) {
	unit := time.Millisecond
	digits := strings.TrimRight(text, "usmhd")
	switch text[len(digits):] {
	case "us":
		unit = time.Microsecond
	case "ms", "":
	case "s":
		unit = time.Second
	case "m":
		unit = time.Minute
	case "h":
		unit = time.Hour
	case "d":
		unit = 24 * time.Hour
	default:
		return "", fmt.Errorf("%q is no time", text)
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > int64(365*24*time.Hour/unit) {
		return "", fmt.Errorf("%q is no time of a year at most", text)
	}
	return migrate.Duration(time.Duration(n) * unit), nil
}

// count returns a number that isn't negative.
func count(text string) (int, error) {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no number", text)
	}
	return int(n), nil
}
