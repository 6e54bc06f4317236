// Package epoll is one epoll instance that a goroutine waits on, and the few socket calls that such a
// goroutine makes. Linux only; elsewhere the package is empty.
//
// It is no event loop: it keeps no connections and calls nothing back. The owner of a Poller runs
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
// The epoll file descriptor lies in the poller of Go's own runtime, so a Wait with nothing to report parks the
// goroutine and blocks no thread: a blocking epoll_wait by Syscall keeps sysmon busy, one by RawSyscall can
// hang the garbage collector. For the same reason the socket calls here are raw ones that can't block:
// they neither enter nor leave the scheduler, which at low load is 40 % of a relay's CPU.
//
// Invariants:
//   - Wait, Close and closing a registered file descriptor are the owner's; Add, Mod, Del too, before Close. Wake is anybody's.
//   - An event may be stale: its file descriptor can have been closed, and its number given to another socket, earlier in the same
//     turn. Data therefore names a slot and its generation.
//   - A Wait that returns says nothing about time: who is always busy compares the clock with its timers itself.
package epoll
