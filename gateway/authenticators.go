package gateway

import (
	"fmt"

	"go.uber.org/zap"

	"sluice/auth"
	"sluice/proxy"
)

// addAuthenticator adds the authenticator of a section.
func (s *security) addAuthenticator(n *generation, c *auth.Config) error {
	madeOf := []any{*c}
	if before := s.inUse.Load().authenticators[c.Name]; before.isOf(madeOf) {
		n.authenticators[c.Name] = before
		return nil
	}
	a, err := auth.New(c, auth.Options{Log: s.authLog.With(zap.String("auth", c.Name)), Panics: s.panics, Files: s.files})
	if err != nil {
		return fmt.Errorf("auth %s: %w", c.Name, err)
	}
	n.authenticators[c.Name] = &runner[*auth.Authenticator]{of: a, madeOf: madeOf, panics: s.panics}
	return nil
}

// authenticate sets the authenticators of the routes.
func (n *generation) authenticate(c *proxy.Sections) {
	c.Authenticators = map[string]*auth.Authenticator{}
	for name, a := range n.authenticators {
		c.Authenticators[name] = a.of
	}
}
