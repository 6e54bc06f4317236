package tls

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"sluice/internal/filewatch"
	"sluice/internal/units"
)

// Check reports every problem of the section, those of the files that it names among them.
func (c *Config) Check(report units.Report) {
	switch {
	case len(c.Certificate) == 0 && c.ACME == nil && !c.SelfSigned:
		report("certificate", "missing", nil, "certificate, acme or self_signed")
	case c.SelfSigned && (len(c.Certificate) > 0 || c.ACME != nil):
		report("self_signed", "beside other certificates", true, "false, or neither certificate nor acme")
	}
	for i := range c.Certificate {
		c.Certificate[i].check(within(report, units.Indexed("certificate", i)+"."))
	}
	if c.ACME != nil {
		c.ACME.check(within(report, "acme."))
	}
	if c.MinVersion != MinVersion12 && c.MinVersion != MinVersion13 {
		report("min_version", "unknown", c.MinVersion, `"1.2" or "1.3"`)
	}
	c.checkClientAuth(report)
	c.Tickets.check(within(report, "tickets."))
	if c.KeyLogFile != "" {
		if err := checkKeyLog(c.KeyLogFile); err != nil {
			report("key_log_file", reasonOf(err), c.KeyLogFile, "a file that only its owner may read, or a new one in a directory that exists and can be written")
		}
	}
	if c.MaxHandshakes < 0 {
		report("max_handshakes", "negative", c.MaxHandshakes, "a number, or 0 for one a CPU")
	}
	checkInterval(report, c.WatchInterval)
}

func (c *Config) checkClientAuth(report units.Report) {
	switch c.ClientAuth {
	case ClientAuthNone:
		if c.ClientCA != "" {
			report("client_ca", "without use", c.ClientCA, `client_auth = "request" or "require"`)
		}
		return
	case ClientAuthRequest, ClientAuthRequire:
	default:
		report("client_auth", "unknown", c.ClientAuth, `"none", "request" or "require"`)
		return
	}
	if c.ClientCA == "" {
		report("client_ca", "missing", nil, "a PEM file of the authorities that sign clients' certificates")
		return
	}
	checkFile(report, "client_ca", c.ClientCA, "a PEM file of certificates", func(text []byte) error {
		_, err := parsePool(text)
		return err
	})
}

func (c *CertificateConfig) check(report units.Report) {
	checkPair(report, c.Cert, c.Key)
}

func (c *TicketConfig) check(report units.Report) {
	if c.Rotate <= 0 {
		report("rotate", "not positive", c.Rotate, `a duration such as "12h"`)
	}
	if c.KeyFile != "" {
		checkFile(report, "key_file", c.KeyFile, "1 to 16 lines of 32 bytes in base64", func(text []byte) error {
			_, err := parseTicketKeys(text)
			return err
		})
	}
}

func (c *ACMEConfig) check(report units.Report) {
	if len(c.Domains) == 0 {
		report("domains", "missing", nil, `names, as ["chat.example.com"]`)
	}
	for i, domain := range c.Domains {
		if !isDomain(domain) {
			report(units.Indexed("domains", i), "not a name", domain, "a name without wildcards, such as \"chat.example.com\"")
		}
	}
	if _, err := c.directoryURL(); err != nil {
		report("directory", err.Error(), c.Directory, `"letsencrypt", "letsencrypt-staging" or an https URL`)
	}
	if c.CAFile != "" {
		checkFile(report, "ca_file", c.CAFile, "a PEM file of certificates", func(text []byte) error {
			_, err := parsePool(text)
			return err
		})
	}
	if c.Storage == "" {
		report("storage", "missing", nil, "a directory")
	}
	for i, challenge := range c.Challenges {
		if challenge != ChallengeTLSALPN && challenge != ChallengeHTTP {
			report(units.Indexed("challenges", i), "unknown", challenge, `"tls-alpn-01" or "http-01"`)
		}
	}
	c.checkBinding(report)
}

func (c *ACMEConfig) checkBinding(report units.Report) {
	const want = "eab_key_id with one of eab_key and eab_key_file, or none of them"
	switch hasKey := c.EABKey != "" || c.EABKeyFile != ""; {
	case c.EABKey != "" && c.EABKeyFile != "":
		report("eab_key_file", "beside eab_key", c.EABKeyFile, want)
	case c.EABKeyID == "" && hasKey:
		report("eab_key_id", "missing", nil, want)
	case c.EABKeyID != "" && !hasKey:
		report("eab_key", "missing", nil, want)
	case c.EABKey != "":
		if err := checkMACKey(c.EABKey); err != nil {
			report("eab_key", err.Error(), nil, "base64url, as the authority gave it")
		}
	case c.EABKeyFile != "":
		checkFile(report, "eab_key_file", c.EABKeyFile, "base64url, as the authority gave it", func(text []byte) error {
			return checkMACKey(strings.TrimSpace(string(text)))
		})
	}
}

// Check reports every problem of the section, those of the files that it names among them.
func (c *ClientConfig) Check(report units.Report) {
	if c.CA != "" {
		checkFile(report, "ca", c.CA, "a PEM file of certificates", func(text []byte) error {
			_, err := parsePool(text)
			return err
		})
	}
	if c.Insecure && c.CA != "" {
		report("insecure", "beside ca", true, "false, or no ca")
	}
	if c.Cert != "" || c.Key != "" {
		checkPair(report, c.Cert, c.Key)
	}
	checkInterval(report, c.WatchInterval)
}

// within is report for the keys of a table in the section.
func within(report units.Report, prefix string) units.Report {
	return func(key, problem string, got any, want string) { report(prefix+key, problem, got, want) }
}

func checkInterval(report units.Report, interval units.Duration) {
	if interval <= 0 {
		report("watch_interval", "not positive", interval, `a duration such as "1m"`)
	}
}

// checkPair reports what is wrong with the files under the keys cert and key.
func checkPair(report units.Report, cert, key string) {
	if cert == "" {
		report("cert", "missing", nil, "a PEM file with the certificate and its intermediates")
	}
	if key == "" {
		report("key", "missing", nil, "a PEM file with the certificate's key")
	}
	if cert == "" || key == "" {
		return
	}
	certPEM, certErr := filewatch.ReadFile(cert)
	if certErr != nil {
		report("cert", reasonOf(certErr), cert, "a PEM file with the certificate and its intermediates")
	}
	keyPEM, keyErr := filewatch.ReadFile(key)
	if keyErr != nil {
		report("key", reasonOf(keyErr), key, "a PEM file with the certificate's key")
	}
	if certErr != nil || keyErr != nil {
		return
	}
	if _, err := parsePair(certPEM, keyPEM); err != nil {
		report("cert", err.Error(), cert, "a certificate, and its key in "+key)
	}
}

// checkFile reports a file that can't be read, or that isn't what is wanted.
func checkFile(report units.Report, key, path, want string, parse func(text []byte) error) {
	text, err := filewatch.ReadFile(path)
	if err == nil {
		err = parse(text)
	}
	if err != nil {
		report(key, reasonOf(err), path, want)
	}
}

// isDomain says whether s can be the name of an ACME order that this gateway can prove: a wildcard
// needs dns-01.
func isDomain(s string) bool {
	if len(s) > 253 || !strings.Contains(s, ".") {
		return false
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return false
	}
	return !slices.ContainsFunc(strings.Split(s, "."), func(label string) bool {
		return label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(r rune) bool {
				return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-')
			})
	})
}

// directoryURL returns the URL that Directory stands for.
func (c *ACMEConfig) directoryURL() (string, error) {
	switch c.Directory {
	case DirectoryLetsEncrypt:
		return letsEncryptURL, nil
	case DirectoryStaging:
		return letsEncryptStagingURL, nil
	}
	u, err := url.Parse(c.Directory)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return "", fmt.Errorf("not a directory")
	}
	return c.Directory, nil
}

func checkMACKey(key string) error {
	if decoded, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(key, "=")); err != nil || len(decoded) == 0 {
		return fmt.Errorf("not base64url")
	}
	return nil
}
