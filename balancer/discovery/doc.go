// Package discovery finds where the backends of a pool are. Each way to find them is a [Source]: DNS
// today, one file for each further way.
//
// It knows addresses, weights and backups, and nothing of policies, health or sessions. It does not
// log and keeps no list: the pool that consumes a Source keeps the last good list, logs failures, and
// recovers panics.
//
// The path through it: [Config.Source] returns the source of one configured name, [Source.Watch]
// reports a list each time that it has found one, until its context ends. A way that
// must ask repeatedly is a lookup function in a poller (poller.go), which has the interval, the back-off
// and the early refresh. A way that gets notifications of changes implements Source itself.
//
// Open source.go first; dns.go is an example of a lookup.
package discovery
