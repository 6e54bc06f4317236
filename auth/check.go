package auth

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"sluice/internal/files"
	"sluice/internal/filewatch"
	"sluice/internal/units"
	"sluice/upgrade"
)

func (c *Config) checkJWT(report units.Report) {
	c.checkKeys(report)
	for i, text := range c.Token {
		if _, isSource := parseSource(text); !isSource {
			report(units.Indexed("token", i), "no place of a token", text, `"header", "header:NAME", "cookie:NAME", "query:NAME" or "protocol:PREFIX"`)
		}
	}
	if len(c.Token) == 0 {
		report("token", "empty", nil, `at least one place, such as "header"`)
	}
	if c.Leeway < 0 {
		report("leeway", "negative", c.Leeway, `a duration such as "30s"`)
	}
	if c.Subject == "" {
		report("subject", "missing", nil, `a claim such as "sub"`)
	}
	c.checkHeaders(report)
}

// checkKeys reports what is wrong with the keys and their algorithms.
func (c *Config) checkKeys(report units.Report) {
	named := map[string]string{"jwks_url": c.JWKSURL, "jwks_file": c.JWKSFile, "key_file": c.KeyFile, "secret_file": c.SecretFile}
	maps.DeleteFunc(named, func(_, value string) bool { return value == "" })
	const want = "exactly one of jwks_url, jwks_file, key_file and secret_file"
	switch keys := slices.Sorted(maps.Keys(named)); len(keys) {
	case 0:
		report("jwks_url", "missing", nil, want)
	case 1:
	default:
		report(keys[1], "beside "+keys[0], named[keys[1]], want)
	}
	allowed := c.checkAlgorithms(report)
	if u, err := url.Parse(c.JWKSURL); c.JWKSURL != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil) {
		report("jwks_url", "not a URL of http or https without a password", c.JWKSURL, `such as "https://issuer.example/keys"`)
	}
	path, parse := c.keyFile()
	if path == "" || len(named) != 1 {
		return
	}
	key := slices.Collect(maps.Keys(named))[0]
	content, err := filewatch.ReadFile(path)
	if err != nil {
		report(key, "can't be read: "+files.Reason(err), path, "a file that the gateway can read")
		return
	}
	keys, err := parse(content)
	if err == nil {
		err = keys.checked(allowed)
	}
	if err != nil {
		report(key, err.Error(), path, "keys for all algorithms")
	}
}

// checkAlgorithms reports what is wrong with the algorithms, and returns those that are right.
func (c *Config) checkAlgorithms(report units.Report) (right []jose.SignatureAlgorithm) {
	known := slices.Sorted(maps.Keys(algorithms))
	for i, name := range c.Algorithms {
		a, key := jose.SignatureAlgorithm(name), units.Indexed("algorithms", i)
		switch {
		case algorithms[a] == nil:
			var names []string
			for _, k := range known {
				names = append(names, string(k))
			}
			report(key, "unknown", name, "one of "+strings.Join(names, ", "))
		case isHMAC(a) && c.SecretFile == "":
			report(key, "needs secret_file: whoever can verify such a token can also make one", name, "an algorithm with public keys")
		case !isHMAC(a) && c.SecretFile != "":
			report(key, "needs public keys", name, "HS256, HS384 or HS512 with secret_file")
		default:
			right = append(right, a)
		}
	}
	if len(c.Algorithms) == 0 {
		report("algorithms", "missing", nil, `those that the issuer signs with, such as ["RS256"]`)
	}
	return right
}

// checkHeaders reports what is wrong with the fields for the backend.
func (c *Config) checkHeaders(report units.Report) {
	names := slices.Sorted(maps.Keys(c.Headers))
	for i, name := range names {
		key := "headers." + name
		if err := upgrade.CheckFieldName(name); err != nil {
			report(key, err.Error(), c.Headers[name], "a field that the handshake doesn't need")
		}
		if c.Headers[name] == "" {
			report(key, "no claim", "", `a claim such as "email"`)
		}
		if slices.ContainsFunc(names[:i], func(earlier string) bool { return upgrade.IsSameField(earlier, name) }) {
			report(key, "the same field as an earlier one", c.Headers[name], `each field once: case does not count, and "_" is "-"`)
		}
	}
}

// keyFile returns the file of the keys and the function that reads its content; "" if the keys are in no file.
func (c *Config) keyFile() (path string, parse func([]byte) (keySet, error)) {
	switch {
	case c.JWKSFile != "":
		return c.JWKSFile, parseJWKS
	case c.KeyFile != "":
		return c.KeyFile, parsePEM
	case c.SecretFile != "":
		return c.SecretFile, parseSecret
	default:
		return "", nil
	}
}

// sources returns the places of a token, which Check has let pass.
func (c *Config) sources() (all []source) {
	for _, text := range c.Token {
		s, _ := parseSource(text)
		all = append(all, s)
	}
	return all
}
