// Package units has the types that the sections of the configuration share: a Duration and a number of Bytes
// that read and write themselves as text ("5s", "64KiB"), and the Report by which a section states
// its problems.
//
// It knows neither files nor lines: the loader of the configuration turns a reported key into the
// place where an operator finds it.
//
//	duration.go, bytes.go   values as text
//	text.go                 checks of text that several sections need
//	report.go               problems of a section
package units
