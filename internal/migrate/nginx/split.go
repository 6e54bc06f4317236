package nginx

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"sluice/internal/migrate"
)

// wholeSplit is what the weights of a split_clients add up to: nginx reads its shares in hundredths of a percent.
const wholeSplit = 100 * 100

// A share is a line of a split_clients: a value of its variable, and how many of wholeSplit clients get it.
type share struct {
	directive *directive
	weight    int
}

// splitOf returns the split_clients whose variable a proxy_pass has; nil: it has none.
func (r *reader) splitOf(pass *directive) *directive {
	for rest := pass.arg(0); ; {
		_, variable, hasVariable := strings.Cut(rest, "$")
		if !hasVariable {
			return nil
		}
		name, after := cutVariable("$" + variable)
		if split := r.splits["$"+name]; split != nil {
			return split
		}
		rest = after
	}
}

// sharesOf returns the shares of a split_clients. Those that no client gets are left out.
func sharesOf(split *directive) ([]share, error) {
	var shares []share
	left := wholeSplit
	for _, d := range split.block {
		weight := left
		if d.name != "*" {
			percent, err := strconv.ParseFloat(strings.TrimSuffix(d.name, "%"), 64)
			if err != nil || !(percent >= 0 && percent <= 100) {
				return nil, errors.New(d.name + " is no share of clients")
			}
			weight = min(left, int(math.Round(percent*wholeSplit/100)))
		}
		left -= weight
		if weight > 0 {
			shares = append(shares, share{d, weight})
		}
	}
	if len(shares) == 0 {
		return nil, errors.New("split_clients has no shares")
	}
	return shares, nil
}

// writeSplit writes the pools of a proxy_pass with the variable of a split_clients, and returns the target of the first one.
func (r *reader) writeSplit(l *level, answer *migrate.Answer, pass, split *directive) (target, error) {
	shares, err := sharesOf(split)
	if err != nil {
		return target{}, err
	}
	var begun target
	var pools []any
	divisor := 0
	for _, s := range shares {
		divisor = greatestCommonDivisor(divisor, s.weight)
	}
	for i, s := range shares {
		value := &directive{name: "set", args: []string{split.arg(1), s.directive.arg(0)}}
		of, err := parseTarget(pass.arg(0), &level{outer: l, block: []*directive{value}})
		if err == nil && i > 0 && of.uri != begun.uri {
			err = errors.New("the path depends on a split_clients: write a route for each")
		}
		if err != nil {
			return target{}, err
		}
		if i == 0 {
			begun = of
		}
		pool, err := r.pool(of, l, pass)
		if err != nil {
			return target{}, err
		}
		s.directive.isRead = true
		pools = append(pools, migrate.Inline{
			{Name: "pool", Value: pool, From: s.directive.place}, {Name: "weight", Value: s.weight / divisor, From: s.directive.place},
		})
	}
	split.isRead = true
	answer.Keys = append(answer.Keys, migrate.Key{Name: "pools", Value: pools, From: pass.place, Also: []migrate.Place{split.place},
		Note: "a client keeps its pool if the policy of a pool is ip_hash, hash or sticky"})
	return begun, nil
}

func greatestCommonDivisor(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
