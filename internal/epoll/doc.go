// Package epoll is one epoll instance that a goroutine waits on, and the few socket calls that such a
// goroutine makes. Linux only; elsewhere the package is empty.
//
// It is not an event loop: it keeps no connections and has no callbacks. The owner of a Poller runs
//
//	for {
//		events, err := p.Wait(deadline) // zero time: no deadline
//		if err != nil {
//			return err
//		}
//		now := time.Now()
//		for i := range events {
//			serve(events[i].Data(), events[i].Events)
//		}
//		// commands that came with Wake, timers that are due by now
//	}
//
// The epoll file descriptor is registered with the poller of Go's runtime, so a Wait without events parks the
// goroutine and blocks no thread: a blocking epoll_wait by Syscall keeps sysmon busy, and one by RawSyscall
// can hang the garbage collector. For the same reason the socket calls here are raw ones that can't block.
// They do not enter or leave the scheduler, which at low load is 40 % of a relay's CPU.
//
// Open poller.go first; socket.go, splice.go and dial.go are the socket calls, raw.go and race.go the
// system calls beneath them.
//
// Invariants:
//   - Only the owner calls Wait and Close, closes a registered file descriptor, and calls Add, Mod and Del, before Close. Any
//     goroutine may call Wake.
//   - An event may be stale: its file descriptor can have been closed, and its number given to another socket, earlier in the same
//     turn. Data therefore names a slot and its generation.
//   - A Wait that returns says nothing about time: a loop that is always busy compares the clock with its timers itself.
package epoll
