package proxy

import (
	"strings"
	"testing"
)

func TestQueryIsLoggedWithItsSecretsMasked(t *testing.T) {
	usual := AccessLines{Query: true}
	tests := []struct {
		lines       AccessLines
		query, want string
	}{
		{AccessLines{}, "room=1", ""},
		{usual, "", ""},
		{usual, "room=1&token=abc&x", "room=1&token=***&x"},
		{usual, "Token=abc&TOKEN=", "Token=***&TOKEN=***"},
		{usual, "%74oken=abc&acc%65ss_token=a=b", "%74oken=***&acc%65ss_token=***"},
		{usual, "+token=abc&tok%zzen=abc&tokens=3", "+token=***&tok%zzen=***&tokens=3"},
		{usual, "=abc&&&", "=abc&&&"},
		{AccessLines{Query: true, Mask: []string{"room"}}, "room=1&token=abc", "room=***&token=abc"},
		{AccessLines{Query: true, Mask: []string{}}, "token=abc", "token=abc"},
		{usual, strings.Repeat("a", 1100), strings.Repeat("a", maxText) + "…"},
	}
	for _, test := range tests {
		if got := string(test.lines.queryText([]byte(test.query))); got != test.want {
			t.Errorf("queryText(%q) = %q, want %q", test.query, got, test.want)
		}
	}
}

func TestSampleIncludesItsShareOfIds(t *testing.T) {
	const all = 100_000
	for _, share := range []float64{0.001, 0.25, 1} {
		lines, taken := AccessLines{Sample: share}, 0
		for i := range uint64(all) {
			if lines.includes(i * ((1<<64 - 1) / all)) {
				taken++
			}
		}
		if want := share * all; float64(taken) < want-2 || float64(taken) > want+2 {
			t.Errorf("%v of %d sessions: %d", share, all, taken)
		}
	}
	if lines := (AccessLines{}); !lines.includes(0) || !lines.includes(1<<64-1) {
		t.Error("without a share some sessions write no line")
	}
}
