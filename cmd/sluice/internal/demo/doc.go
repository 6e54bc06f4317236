// Package demo is the page of `sluice demo`: one HTML page with its style and script inline, where
// a person opens a session through the gateway, sends text, sees the echo and which backend it came
// from, measures a round trip, and closes with a code.
//
// The page is served by a listener of its own on loopback: the gateway relays sessions and is no
// web server. The script reaches the gateway at the host that the page was reached by, at the port
// that the page is given.
package demo
