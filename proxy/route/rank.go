package route

import (
	"cmp"
	"slices"
)

// A hostKind is a kind of a route's host, the most exact one last.
type hostKind uint8

const (
	anyHostName hostKind = iota
	wildcardAfter
	wildcardBefore
	exactHostName
)

func kindOfHost(host string) hostKind {
	switch {
	case host == "":
		return anyHostName
	case host[0] == '.':
		return wildcardBefore
	case host[len(host)-1] == '.':
		return wildcardAfter
	default:
		return exactHostName
	}
}

// A place is that of a route in the order in which routes are tried, for one of its hosts.
type place struct {
	host  string // in the form of Conditions; "" means any
	route *Route
}

// newPlaces returns the places of all routes in order.
func newPlaces(all []*Route) (places []place) {
	for _, r := range all {
		if len(r.Hosts) == 0 {
			places = append(places, place{"", r})
		}
		for _, host := range r.Hosts {
			places = append(places, place{host, r})
		}
	}
	slices.SortStableFunc(places, comparePlaces)
	return places
}

// comparePlaces returns a negative number if a is tried before b, and 0 if the order in the file decides. The order is that of the Kubernetes
// Gateway API, after the priority: the host, the path, the method, the number of fields, and that of parameters.
func comparePlaces(a, b place) int {
	x, y := a.route, b.route
	return cmp.Or(
		cmp.Compare(y.Priority, x.Priority),
		cmp.Compare(kindOfHost(b.host), kindOfHost(a.host)),
		compareWildcards(a.host, b.host),
		cmp.Compare(y.pathRank(), x.pathRank()),
		compareBools(y.Listener != "", x.Listener != ""),
		compareBools(len(y.Methods) > 0, len(x.Methods) > 0),
		cmp.Compare(len(y.Headers), len(x.Headers)),
		cmp.Compare(len(y.Queries), len(x.Queries)),
	)
}

// compareWildcards orders wildcards of the same kind, the longer one first.
func compareWildcards(a, b string) int {
	if kindOfHost(a) == exactHostName {
		return 0
	}
	return cmp.Compare(len(b), len(a))
}

// pathRank orders paths: an exact one ranks over prefixes, a longer prefix over a shorter one, and any of them over expressions.
func (c *Conditions) pathRank() int {
	switch c.PathKind {
	case ExactPath:
		return 1 << 30
	case PrefixPath:
		return len(c.Path)
	default:
		return -1
	}
}

// compareBools orders false before true.
func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}
