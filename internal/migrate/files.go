package migrate

import (
	"regexp"
	"strings"
)

// WithoutFiles returns the draft as one that can be checked where the files and variables that it names don't exist: listeners make their
// certificates by themselves, other files are left out, and a variable is its default or a digit. The draft itself stays.
func (d *Draft) WithoutFiles() *Draft {
	without := *d
	without.Listeners, without.Routes, without.Pools = nil, nil, nil
	for _, s := range d.Routes {
		without.Routes = append(without.Routes, s.replace(func(k Key) (Key, bool) { return k, true }))
	}
	for _, s := range d.Listeners {
		without.Listeners = append(without.Listeners, s.replace(func(k Key) (Key, bool) {
			switch {
			case k.Name == "tls.certificate" && s.Get("tls.acme.domains") != nil:
				return k, false
			case k.Name == "tls.certificate":
				return Key{Name: "tls.self_signed", Value: true, From: k.From}, true
			case k.Name == "tls.acme.domains":
				return Key{Name: k.Name, Value: []string{"example.com"}, From: k.From}, true
			case strings.HasPrefix(k.Name, "tls.client_"), k.Name == "tls.tickets.key_file":
				return k, false
			}
			return k, true
		}))
	}
	for _, s := range d.Pools {
		without.Pools = append(without.Pools, s.replace(func(k Key) (Key, bool) {
			switch k.Name {
			case "sticky.secret_file":
				return Key{Name: "sticky.secret", Value: "in place of the file", From: k.From}, true
			case "tls.ca", "tls.cert", "tls.key":
				return k, false
			}
			return k, true
		}))
	}
	return &without
}

// replace returns a copy of the section with other keys.
func (s *Section) replace(with func(Key) (key Key, isKept bool)) *Section {
	changed := *s
	changed.Keys = nil
	for _, key := range s.Keys {
		if key, isKept := with(key); isKept {
			key.Value = withoutVariables(key.Value)
			changed.Keys = append(changed.Keys, key)
		}
	}
	return &changed
}

// variable matches a variable of the environment, with its default.
var variable = regexp.MustCompile(`\$\{[A-Za-z0-9_]+(?::-([^}]*))?\}`)

// withoutVariables returns a value without variables of the environment.
func withoutVariables(value any) any {
	switch v := value.(type) {
	case Template:
		return variable.ReplaceAllStringFunc(string(v), func(found string) string {
			if fallback := variable.FindStringSubmatch(found)[1]; fallback != "" {
				return fallback
			}
			return "1"
		})
	case []any:
		var all []any
		for _, element := range v {
			all = append(all, withoutVariables(element))
		}
		return all
	case Inline:
		var table Inline
		for _, key := range v {
			key.Value = withoutVariables(key.Value)
			table = append(table, key)
		}
		return table
	}
	return value
}
