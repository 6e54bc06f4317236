//go:build !sluice_faults

package recovery

// Provoke does nothing, but in a program that is built with the tag sluice_faults for a test.
func Provoke(string, []byte) {}
