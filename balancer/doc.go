// Package balancer chooses the backend of a session: pools, policies, health.
//
// A session lives for hours, so the choice at its start is nearly all that a pool can do. Load is
// therefore measured in live sessions, never in requests.
//
// The path through it is [Pool.Pick]: a policy (a func) chooses from a snapshot of the available
// backends, and a place of the chosen one is acquired in the same critical section.
// [Backend.Established] records that the handshake succeeded. [Backend.Release] gives the place back
// with an [Outcome]. Outcomes that are failures feed the passive ejection.
//
// Every change of a backend's state goes through Pool.updateState: after a probe, an ejection, a drain,
// a new list of a source, and Pool.Set. A snapshot is built anew and swapped. Only the order of its
// candidates by load is modified in place.
//
// [Pool.Run] does the work that needs time: probes, sources of names, trials of ejected backends, slow
// starts, and closing the surplus of a rebalance or the sessions of a drain. The sessions belong to an
// [Owner], which is asked to close a number of them; nothing here touches one.
//
// It is not a dialer: it opens connections only for its probes and trials. Package probe has a single probe,
// package discovery the sources of names.
//
// Open pick.go first. The files stay in one package because a pick is one critical section: the
// policies, the order by load and the counters of the backends are guarded by one lock.
//
//	pool.go config.go check.go             a pool, its configuration and the problems of that
//	pick.go key.go queue.go snapshot.go    a pick: its request, its wait, the state that it uses
//	policy.go candidates.go schedule.go
//	rendezvous.go sticky.go                the policies and what they choose from
//	backend.go backends.go address.go
//	state.go status.go traffic.go          a backend: its address, state and counters
//	run.go probes.go sources.go            the work of Run
//	outcome.go failure.go ejection.go
//	trial.go                               outcomes of traffic, and the effects of failures
//	drain.go rebalance.go                  sessions that are moved
//	handover.go                            the state for another process
package balancer
