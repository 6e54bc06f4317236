package driver

import "syscall"

// canTry reports whether sockets can be read and written without blocking: here a descriptor isn't one to read from.
const canTry = false

const errAgain = syscall.EWOULDBLOCK

func tryRead(int, []byte) (int, error)  { panic("BUG: not a Unix socket") }
func tryWrite(int, []byte) (int, error) { panic("BUG: not a Unix socket") }
