package recovery

import (
	"fmt"
	"strings"
)

// Try calls f and returns its error, or its panic as an error. It is for trials, in which a panic is one of the expected results.
func Try(f func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = panicError{cause}
		}
	}()
	return f()
}

type panicError struct{ cause any }

// Error returns the panic in one line.
func (e panicError) Error() string {
	text, _, _ := strings.Cut(fmt.Sprint(e.cause), "\n")
	return "panics: " + text
}
