package auth

import (
	"maps"
	"net/netip"
	"net/url"
	"slices"

	"sluice/internal/files"
	"sluice/internal/filewatch"
	"sluice/internal/units"
)

// The values of Config.Kind.
const (
	KindBasic = "basic" // user names and passwords (RFC 7617)
	KindJWT   = "jwt"   // signed tokens (RFC 7519)
)

// The values of Config.OnExpiry.
const (
	OnExpiryClose = "close"
	OnExpiryKeep  = "keep"
)

// Config is one [[auth]] of the configuration.
type Config struct {
	// Name is the name of the section, which is unique: routes and metrics refer to it. It is also the realm that clients show.
	Name string `toml:"name"`
	// Kind is what clients have to show: KindBasic or KindJWT.
	Kind string `toml:"kind"`

	// UsersFile is the file with the users and the bcrypt hashes of their passwords, as htpasswd writes it.
	UsersFile string `toml:"users_file"`

	// JWKSURL, JWKSFile, KeyFile and SecretFile are where the keys of tokens are, exactly one of them: an issuer's JSON Web Key Set, the same in
	// a file, public keys in PEM, or a secret of HMAC.
	JWKSURL    string `toml:"jwks_url"`
	JWKSFile   string `toml:"jwks_file"`
	KeyFile    string `toml:"key_file"`
	SecretFile string `toml:"secret_file"`
	// Algorithms are those that a token may be signed with.
	Algorithms []string `toml:"algorithms"`
	// Issuer and Audience are values of iss and aud of which a token needs one; empty means any.
	Issuer   []string `toml:"issuer"`
	Audience []string `toml:"audience"`
	// Leeway is how far the clock of the issuer may be off.
	Leeway units.Duration `toml:"leeway" default:"30s"`
	// Require has claims that a token needs, with their values.
	Require map[string]string `toml:"require"`
	// Token has the places of a request where the token may be: the first one that has one counts.
	Token []string `toml:"token" default:"header"`
	// Subject is the claim that names the client.
	Subject string `toml:"subject" default:"sub"`
	// Headers has the fields that the backend gets, each with the claim that is its value.
	Headers map[string]string `toml:"headers"`
	// OnExpiry is what happens to a session whose token expires: OnExpiryClose or OnExpiryKeep.
	OnExpiry string `toml:"on_expiry" default:"close"`
}

// Check reports every problem of the section.
func (c *Config) Check(report units.Report) {
	if !isName(c.Name) {
		report("name", "not a name", c.Name, "letters, digits, \"-\", \"_\" and \".\"")
	}
	if c.OnExpiry != OnExpiryClose && c.OnExpiry != OnExpiryKeep {
		report("on_expiry", "unknown", c.OnExpiry, `"close" or "keep"`)
	}
	switch c.Kind {
	case KindBasic:
		c.checkBasic(report)
		c.checkForeign(report, map[string]string{"jwks_url": c.JWKSURL, "jwks_file": c.JWKSFile, "key_file": c.KeyFile, "secret_file": c.SecretFile})
	case KindJWT:
		c.checkJWT(report)
		c.checkForeign(report, map[string]string{"users_file": c.UsersFile})
	default:
		report("kind", "unknown", c.Kind, `"basic" or "jwt"`)
	}
}

// isName reports whether a text may be the name of a section. It is a part of a field of answers and of metrics.
func isName(name string) bool {
	for _, c := range []byte(name) {
		isLetter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !isLetter && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return name != ""
}

// checkForeign reports keys of another kind that are set.
func (c *Config) checkForeign(report units.Report, keys map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if keys[key] != "" {
			report(key, "of another kind", keys[key], "a key of the kind "+c.Kind)
		}
	}
}

func (c *Config) checkBasic(report units.Report) {
	const want = "lines as \"htpasswd -B\" writes them"
	if c.UsersFile == "" {
		report("users_file", "missing", nil, "the path of a file with "+want)
		return
	}
	content, err := filewatch.ReadFile(c.UsersFile)
	if err != nil {
		report("users_file", "can't be read: "+files.Reason(err), c.UsersFile, "a file with "+want)
		return
	}
	_, problems := parseUsers(content)
	for _, problem := range problems {
		report("users_file", problem.Error(), c.UsersFile, want)
	}
}

// Warn reports what the section may have and its operator may not want. Check has found no problem.
func (c *Config) Warn(report units.Report) {
	for _, secret := range []struct{ key, path string }{{"users_file", c.UsersFile}, {"secret_file", c.SecretFile}} {
		if problem := files.Exposure(secret.path); secret.path != "" && problem != "" {
			report(secret.key, problem, secret.path, "0640 or less")
		}
	}
	if u, err := url.Parse(c.JWKSURL); err == nil && u.Scheme == "http" && !isLoopback(u.Hostname()) {
		report("jwks_url", "anyone on the way to the issuer can send other keys", c.JWKSURL, "https")
	}
}

// isLoopback reports whether a host is this machine.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
