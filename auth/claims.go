package auth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// claims are what a token whose signature was verified says: RFC 7519 section 4.
type claims map[string]any

// parseClaims reads the payload of a token.
func parseClaims(payload []byte) (c claims, isObject bool) {
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber() // so that a large number stays as it is
	err := d.Decode(&c)
	return c, err == nil && c != nil && !d.More()
}

// text returns a claim as text: a string, a number or true as it is, and the elements of an array with commas between them. An element that has
// a comma itself, and would pass for two, is left out. isText is false for an object, and if there is no such claim.
func (c claims) text(name string) (text string, isText bool) {
	if list, isList := c[name].([]any); isList {
		var parts []string
		for _, element := range list {
			part, isText := textOf(element)
			if !isText {
				return "", false
			}
			if !strings.Contains(part, ",") {
				parts = append(parts, part)
			}
		}
		return strings.Join(parts, ","), true
	}
	return textOf(c[name])
}

func textOf(value any) (text string, isText bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return fmt.Sprint(v), true
	default:
		return "", false
	}
}

// has reports whether a claim is one of these values, or an array with one of them.
func (c claims) has(name string, values ...string) bool {
	list, isList := c[name].([]any)
	if !isList {
		list = []any{c[name]}
	}
	return slices.ContainsFunc(list, func(element any) bool {
		text, isText := textOf(element)
		return isText && slices.Contains(values, text)
	})
}

// time returns a claim that is a NumericDate. It is zero if there is no such claim. isTime is false if it is something else.
func (c claims) time(name string) (t time.Time, isTime bool) {
	value, isThere := c[name]
	if !isThere {
		return time.Time{}, true
	}
	number, isNumber := value.(json.Number)
	seconds, err := number.Float64()
	if !isNumber || err != nil || math.IsNaN(seconds) || seconds < 0 || seconds > 1<<40 {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0), true
}
