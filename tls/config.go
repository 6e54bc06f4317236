package tls

import (
	"sluice/internal/units"
)

// A Config is the [listener.tls] section of the configuration.
type Config struct {
	// Certificate are pairs of PEM files. The first one is the default: for clients that name no
	// host, or one that no certificate has.
	Certificate []CertificateConfig `toml:"certificate"`
	// SelfSigned makes a certificate at start, for localhost and the machine's name.
	SelfSigned bool `toml:"self_signed" default:"false"`
	// ACME obtains and renews certificates; nil: none.
	ACME *ACMEConfig `toml:"acme"`

	// MinVersion is the least version that is spoken: "1.2" or "1.3".
	MinVersion string `toml:"min_version" default:"1.2"`

	// ClientAuth is "none" (no certificate is asked for), "request" (a client may have none, but a
	// wrong one ends the handshake) or "require".
	ClientAuth string `toml:"client_auth" default:"none"`
	// ClientCA is a PEM file of the authorities that sign the certificates of clients.
	ClientCA string `toml:"client_ca"`

	Tickets TicketConfig `toml:"tickets"`

	// KeyLogFile is a file to which the secrets of connections are appended, in the format of NSS key logs: a reader of it can decrypt
	// all traffic of the listener. Empty: none.
	KeyLogFile string `toml:"key_log_file"`

	// MaxHandshakes is how many handshakes compute at once; zero: one fewer than GOMAXPROCS. One that
	// waits for its client isn't among them.
	MaxHandshakes int `toml:"max_handshakes" default:"0"`
	// WatchInterval is the time between two looks at the files, for changes that no event reports.
	WatchInterval units.Duration `toml:"watch_interval" default:"1m"`
}

// A CertificateConfig is one element of a listener's certificate list.
type CertificateConfig struct {
	// Cert is a PEM file with the certificate and then its intermediates, Key one with its key.
	Cert string `toml:"cert"`
	Key  string `toml:"key"`
}

// A TicketConfig is where the keys come from that seal session tickets.
type TicketConfig struct {
	// KeyFile has a key of 32 bytes in base64 a line; the first one seals, all of them open. Gateways
	// that share it resume each other's sessions. Empty: keys of this process's own.
	KeyFile string `toml:"key_file"`
	// Rotate is how long a key of this process's own seals; see ticketKeyCount for how long it opens.
	Rotate units.Duration `toml:"rotate" default:"12h"`
}

// An ACMEConfig obtains certificates by RFC 8555. To name a domain is to agree to the terms of the
// directory's authority.
type ACMEConfig struct {
	// Domains are the names to obtain a certificate for, one each; no wildcards and no addresses.
	Domains []string `toml:"domains"`
	// Email is the contact of the account; empty: none.
	Email string `toml:"email"`
	// Directory is "letsencrypt", "letsencrypt-staging", or the URL of an ACME directory.
	Directory string `toml:"directory" default:"letsencrypt"`
	// CAFile is a PEM file of the authorities that sign the directory's own certificate; empty: the
	// system's.
	CAFile string `toml:"ca_file"`
	// Storage is a directory for accounts, keys and certificates. Gateways that share it share the
	// certificates, and answer each other's challenges.
	Storage string `toml:"storage" default:"/var/lib/sluice/acme"`
	// Challenges are the ways to prove control of a domain that may be used, of "tls-alpn-01" and
	// "http-01"; empty: both, as far as there are listeners for them.
	Challenges []string `toml:"challenges"`

	// EABKeyID and EABKey (base64url) bind the account to one that the authority knows already (RFC
	// 8555 section 7.3.4); empty: no binding. EABKeyFile is a file that holds the key.
	EABKeyID   string `toml:"eab_key_id"`
	EABKey     string `toml:"eab_key"`
	EABKeyFile string `toml:"eab_key_file"`
}

// A ClientConfig is the [pool.tls] section: TLS towards backends.
type ClientConfig struct {
	// CA is a PEM file of the authorities that sign the backends' certificates; empty: the system's.
	CA string `toml:"ca"`
	// ServerName is the name that backends prove, and the SNI; empty: the host of their address.
	ServerName string `toml:"server_name"`
	// Cert and Key are PEM files with the certificate that backends are shown; empty: none.
	Cert string `toml:"cert"`
	Key  string `toml:"key"`
	// Insecure takes any certificate of a backend.
	Insecure bool `toml:"insecure" default:"false"`
	// WatchInterval is the time between two looks at the files, for changes that no event reports.
	WatchInterval units.Duration `toml:"watch_interval" default:"1m"`
}

// The values of Config.ClientAuth.
const (
	ClientAuthNone    = "none"
	ClientAuthRequest = "request"
	ClientAuthRequire = "require"
)

// The values of Config.MinVersion.
const (
	MinVersion12 = "1.2"
	MinVersion13 = "1.3"
)

// The names of ACMEConfig.Directory that stand for a URL.
const (
	DirectoryLetsEncrypt = "letsencrypt"
	DirectoryStaging     = "letsencrypt-staging"
)

// The values of ACMEConfig.Challenges.
const (
	ChallengeTLSALPN = "tls-alpn-01" // RFC 8737
	ChallengeHTTP    = "http-01"     // RFC 8555 section 8.3
)
