package auth

import (
	"context"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// BenchmarkDecision is the part of a handshake that a loop spends on a token, or on a password that was verified before. It has neither the
// parse of the head nor bcrypt.
func BenchmarkDecision(b *testing.B) {
	run := func(name string, a *Authenticator, line string) {
		b.Run(name, func(b *testing.B) {
			r := requestWith(b, "/", line)
			first := a.Read(r)
			if d := a.Decide(context.Background(), &first); d.Result != Accepted {
				b.Fatalf("result %q, cause %q", d.Result, d.Cause)
			}
			b.ReportAllocs()
			now := time.Now()
			for b.Loop() {
				c := a.Read(r)
				if _, isKnown := a.TryDecide(&c, now); !isKnown {
					b.Fatal("it has to wait")
				}
			}
		})
	}
	run("basic", newBasicOf(b, "alice:"+hashOf(b, "wonderland", 4)), basicLine("alice", "wonderland"))
	for _, algorithm := range []jose.SignatureAlgorithm{jose.HS256, jose.RS256, jose.ES256, jose.EdDSA} {
		key, c := signers()[algorithm], newJWT(algorithm)
		if secret, isSecret := key.([]byte); isSecret {
			c.SecretFile = write(b, "secret", string(secret))
		} else {
			c.KeyFile = write(b, "key.pem", string(publicPEM(key)))
		}
		run(string(algorithm), mustNew(b, c), bearerLine(signed(b, algorithm, key, "", saying())))
	}
}
