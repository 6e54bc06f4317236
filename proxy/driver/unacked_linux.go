package driver

import "golang.org/x/sys/unix"

// unacked returns how many bytes of a socket the peer hasn't acknowledged.
func unacked(fd int) int {
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return n
}
