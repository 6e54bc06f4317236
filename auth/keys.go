package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// A keySet has the keys by which signatures are verified. Immutable.
type keySet []verificationKey

// A verificationKey is one key: public, or a secret of HMAC.
type verificationKey struct {
	id        string                  // "" fits every token
	algorithm jose.SignatureAlgorithm // that the key is for alone; "" means each that fits its type
	key       any                     // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey or []byte
}

// maxKeys bounds the keys of a file or an issuer.
const maxKeys = 256

// algorithms are those that a section may have, each with the type of its keys: RFC 7518 section 3, RFC 8037 section 3.1.
var algorithms = map[jose.SignatureAlgorithm]func(key any) bool{
	jose.RS256: isRSA, jose.RS384: isRSA, jose.RS512: isRSA, jose.PS256: isRSA, jose.PS384: isRSA, jose.PS512: isRSA,
	jose.ES256: isOnCurve(elliptic.P256()), jose.ES384: isOnCurve(elliptic.P384()), jose.ES512: isOnCurve(elliptic.P521()),
	jose.EdDSA: func(key any) bool { _, is := key.(ed25519.PublicKey); return is },
	jose.HS256: isSecret(32), jose.HS384: isSecret(48), jose.HS512: isSecret(64),
}

// isHMAC reports whether an algorithm is one of those by which a reader of tokens can also write them.
func isHMAC(a jose.SignatureAlgorithm) bool {
	return a == jose.HS256 || a == jose.HS384 || a == jose.HS512
}

// Sizes of RSA keys in bits. RFC 7518 section 3.3: "A key of size 2048 bits or larger MUST be used".
const (
	minRSA = 2048
	maxRSA = 8192 // a larger one only takes CPU
)

func isRSA(key any) bool {
	k, is := key.(*rsa.PublicKey)
	return is && k.N.BitLen() >= minRSA && k.N.BitLen() <= maxRSA
}

func isOnCurve(curve elliptic.Curve) func(key any) bool {
	return func(key any) bool {
		k, is := key.(*ecdsa.PublicKey)
		return is && k.Curve == curve
	}
}

// isSecret returns a func that reports whether a key is a secret of at least that many bytes. RFC 7518 section 3.2: "A key of the same size as
// the hash output [...] or larger MUST be used".
func isSecret(least int) func(key any) bool {
	return func(key any) bool {
		k, is := key.([]byte)
		return is && len(k) >= least
	}
}

// find returns the keys that a token with this algorithm and key id ("" for none) may be signed with.
func (s keySet) find(a jose.SignatureAlgorithm, id string) (found keySet) {
	fits := algorithms[a]
	for _, k := range s {
		if (id == "" || k.id == "" || k.id == id) && (k.algorithm == "" || k.algorithm == a) && fits != nil && fits(k.key) {
			found = append(found, k)
		}
	}
	return found
}

// serves reports whether there is a key for the algorithm.
func (s keySet) serves(a jose.SignatureAlgorithm) bool { return len(s.find(a, "")) > 0 }

// parseJWKS reads a JSON Web Key Set (RFC 7517 section 5). Keys that verify no signatures, and those that are of an unknown type or broken, don't
// count. Of private keys the public part counts. The error has nothing of the content.
func parseJWKS(content []byte) (keySet, error) {
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(content, &raw) != nil {
		return nil, errors.New("not a JSON Web Key Set")
	}
	if len(raw.Keys) > maxKeys {
		return nil, fmt.Errorf("%d keys, more than %d", len(raw.Keys), maxKeys)
	}
	var set keySet
	for _, text := range raw.Keys {
		var k jose.JSONWebKey
		if json.Unmarshal(text, &k) != nil || k.Use != "" && k.Use != "sig" {
			continue
		}
		public := k.Public()
		switch public.Key.(type) {
		case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
			set = append(set, verificationKey{k.KeyID, jose.SignatureAlgorithm(k.Algorithm), public.Key})
		}
	}
	if len(set) == 0 {
		return nil, errors.New("no public key for signatures")
	}
	return set, nil
}

// parsePEM reads public keys and certificates. The error has nothing of the content.
func parsePEM(content []byte) (set keySet, err error) {
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			break
		}
		key, err := publicKey(block)
		if err != nil {
			return nil, err
		}
		if set = append(set, verificationKey{key: key}); len(set) > maxKeys {
			return nil, fmt.Errorf("more than %d keys", maxKeys)
		}
	}
	if len(set) == 0 {
		return nil, errors.New("no public key in PEM")
	}
	return set, nil
}

func publicKey(block *pem.Block) (key crypto.PublicKey, err error) {
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = cert.PublicKey
		}
	default:
		return nil, fmt.Errorf("a block %q, which is no public key", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("a broken block %q", block.Type)
	}
	return key, nil
}

// parseSecret reads a secret of HMAC: the bytes of the file, without a line feed at its end.
func parseSecret(content []byte) (keySet, error) {
	secret := bytes.TrimRight(content, "\r\n")
	return keySet{{key: bytes.Clone(secret)}}, nil
}

// checked returns the error of a set without a key for one of the algorithms of a section.
func (s keySet) checked(of []jose.SignatureAlgorithm) error {
	for _, a := range of {
		if !s.serves(a) {
			return fmt.Errorf("no key for the algorithm %s%s", a, sizeHint(a))
		}
	}
	return nil
}

func sizeHint(a jose.SignatureAlgorithm) string {
	switch {
	case isHMAC(a):
		return fmt.Sprintf(", whose secret has at least %s bits", a[2:])
	case a[0] == 'R', a[0] == 'P':
		return fmt.Sprintf(", whose keys have %d to %d bits", minRSA, maxRSA)
	default:
		return ""
	}
}
