// Package balancer chooses the backend of a session: pools, policies, health.
//
// A session lives for hours, so what a pool does at its start is nearly all that it can do. Load
// is therefore judged by live sessions, never by requests.
//
// The one path through the package is [Pool.Pick]: a policy (a func) chooses from a snapshot of
// the members that are available, and a place of the chosen backend is taken in the same critical
// section. [Backend.Established] tells that the handshake stands, [Backend.Release] gives the place
// back with an [Outcome]; failures among the outcomes feed the passive ejection.
//
// What changes the snapshot goes through one place, Pool.settle: the active probes, the ejections,
// a drain, the resolver, and Pool.Set. A snapshot is built anew and swapped, never modified, but
// for the order of its members by load.
//
// [Pool.Run] does what needs time: probes, the ends of ejections, slow starts, resolving, and the
// closing of the surplus of a rebalance or a drain. The sessions themselves belong to somebody
// else (an [Owner]), who is asked to close so many of a backend; nothing here touches one.
//
// It is not a dialer: it opens connections for its probes only.
package balancer
