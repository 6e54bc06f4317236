package units

import "strconv"

// A Report records one problem of a section. key is relative to the section, with dots between tables
// and the index of an element in brackets ("backend[1].weight"). problem states in a few words what is
// wrong, got is the configured value (nil: there is none), and want describes a right one.
type Report func(key, problem string, got any, want string)

// In returns the Report of a table of the section: it puts the table's name before each key.
func (r Report) In(table string) Report {
	return func(key, problem string, got any, want string) { r(table+"."+key, problem, got, want) }
}

// CheckPositive reports d under key if it is not positive.
func (r Report) CheckPositive(key string, d Duration) {
	if d <= 0 {
		r(key, "not positive", d, "more than 0s")
	}
}

// Indexed returns the key of an element of an array.
func Indexed(key string, i int) string { return key + "[" + strconv.Itoa(i) + "]" }
