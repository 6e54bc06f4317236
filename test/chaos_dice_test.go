//go:build unix

package test

import (
	"math/rand/v2"
	"strings"
	"time"
)

// Dice draw random values. Owned by one goroutine.
type dice struct{ *rand.Rand }

func newDice(seed, stream uint64) dice { return dice{rand.New(rand.NewPCG(seed, stream))} }

// oneIn reports true with a probability of one in n.
func (d dice) oneIn(n int) bool { return d.IntN(n) == 0 }

// between returns a number from low to high, both included.
func (d dice) between(low, high int) int { return low + d.IntN(high-low+1) }

// within returns a duration of at most most.
func (d dice) within(most time.Duration) time.Duration {
	return time.Duration(d.Int64N(int64(most) + 1))
}

// one returns one of several values.
func one[T any](d dice, of ...T) T { return of[d.IntN(len(of))] }

// some returns at most most of several values, each at most once, in random order.
func some[T any](d dice, most int, of ...T) (chosen []T) {
	n := min(d.IntN(most+1), len(of))
	for _, i := range d.Perm(len(of))[:n] {
		chosen = append(chosen, of[i])
	}
	return chosen
}

// size returns the length of a payload in bytes: mostly small, up to 400 KB, and the limits of the forms of a frame header.
func (d dice) size() int {
	switch {
	case d.oneIn(12):
		return d.between(32<<10, 400_000)
	case d.oneIn(6):
		return d.between(126, 40_000)
	case d.oneIn(8):
		return one(d, 0, 1, 125, 126, 127, 65_535, 65_536)
	default:
		return d.between(0, 200)
	}
}

// letters returns n random letters.
func (d dice) letters(n int) string {
	var b strings.Builder
	for range n {
		b.WriteByte(byte('a' + d.IntN(26)))
	}
	return b.String()
}

// octets returns n random bytes.
func (d dice) octets(n int) string {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(d.Uint32())
	}
	return string(p)
}

// mutate changes a few bytes anywhere in a text: it flips, removes, repeats, inserts or replaces some.
func (d dice) mutate(text string) string {
	p := []byte(text)
	for range d.between(1, 4) {
		if len(p) == 0 {
			break
		}
		i := d.IntN(len(p))
		j := min(i+d.between(1, 40), len(p))
		switch d.IntN(5) {
		case 0:
			p[i] ^= 1 << d.IntN(8)
		case 1:
			p = append(p[:i:i], p[j:]...)
		case 2:
			p = append(p[:j:j], p[i:]...)
		case 3:
			strange := one(d, "\r\n", "\n", "\r", " ", "\t", ":", "\x00", "\xff", "%", "%2f", "%00", "//", "..", ",", ";", "\"", "://", "*", "[", "]", "@", "é")
			p = append(p[:i:i], strange+string(p[i:])...)
		default:
			p[i] = byte(d.Uint32())
		}
	}
	return string(p)
}

// split returns dice for another goroutine.
func (d dice) split() dice { return newDice(d.Uint64(), d.Uint64()) }
