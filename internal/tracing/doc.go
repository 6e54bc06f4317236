// Package tracing sends traces of handshakes to a collector by OTLP: a span from accept to the answer, and one below it for each
// part (accept, route, pick, dial, answer). It is a handshake.Tracer; without an endpoint there is none, and a handshake costs nothing
// more.
//
// A client's traceparent (W3C Trace Context) is continued. The traceparent of a trusted proxy decides whether
// the trace is recorded; that of another client can only ask for no record. The rest is sampled.
package tracing
