// Package units is what the sections of the configuration share: a Duration and a number of Bytes
// that read and write themselves as text ("5s", "64KiB"), and the Report by which a section tells
// its problems.
//
// It knows neither files nor lines: the loader of the configuration turns a reported key into the
// place where an operator finds it.
package units

// A Report takes one problem of a section. The key is relative to the section, with dots between
// tables and the index of an element in brackets ("backend[1].weight"); problem says in a few words
// what is wrong, got is the value that was found (nil: there is none), and want says what would
// have been right.
type Report func(key, problem string, got any, want string)
