package tls

import (
	"time"

	"sluice/internal/files"
	"sluice/internal/filewatch"
	"sluice/internal/units"
)

// Warn reports what the section may have and its operator may not want: secrets that every user of the machine can read, secrets of
// connections in a file, and certificates that no client accepts. Check has found no problem.
func (c *Config) Warn(report units.Report, now time.Time) {
	for i := range c.Certificate {
		warnOfPair(within(report, units.Indexed("certificate", i)+"."), c.Certificate[i].Cert, c.Certificate[i].Key, now)
	}
	warnOfExposure(report, "tickets.key_file", c.Tickets.KeyFile)
	if c.KeyLogFile != "" {
		report("key_log_file", "a reader of this file can decrypt all traffic of the listener", c.KeyLogFile, "")
	}
	if c.ACME != nil {
		warnOfExposure(report, "acme.eab_key_file", c.ACME.EABKeyFile)
	}
}

// Warn reports what the section may have and its operator may not want, as Config.Warn does.
func (c *ClientConfig) Warn(report units.Report, now time.Time) {
	if c.Cert != "" {
		warnOfPair(report, c.Cert, c.Key, now)
	}
}

// warnOfPair reports what is odd with the files under the keys cert and key.
func warnOfPair(report units.Report, cert, key string, now time.Time) {
	warnOfExposure(report, "key", key)
	certPEM, errCert := filewatch.ReadFile(cert)
	keyPEM, errKey := filewatch.ReadFile(key)
	if errCert != nil || errKey != nil {
		return
	}
	pair, err := parsePair(certPEM, keyPEM)
	if err != nil {
		return // the files have changed since Check
	}
	switch {
	case now.After(pair.Leaf.NotAfter):
		report("cert", "the certificate expired at "+pair.Leaf.NotAfter.UTC().Format(time.RFC3339), cert, "")
	case now.Before(pair.Leaf.NotBefore):
		report("cert", "the certificate is not valid before "+pair.Leaf.NotBefore.UTC().Format(time.RFC3339), cert, "")
	}
}

// warnOfExposure reports that a file with a secret, if there is one, can be read or written by every user.
func warnOfExposure(report units.Report, key, path string) {
	if path == "" {
		return
	}
	if problem := files.Exposure(path); problem != "" {
		report(key, problem, path, "0640 or less")
	}
}
