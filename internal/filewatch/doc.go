// Package filewatch applies changed files while the program runs: the configuration, certificates and keys.
//
// A Source is one or more files that are read together and applied whole or not at all, and globs that further files may match. A Set is the sources of one user, such as
// the certificates of a listener. Set.Run applies their changes until its context ends. A Watcher reports changes to any number of
// sets from a single inotify instance: a user of Linux may have 128 of these by default, and every listener and pool with TLS has a
// set.
//
// The path of a change: the kernel reports an entry of a directory to the Watcher, which wakes each set that has a file, or a
// symbolic link on the way to a file, at that entry, or a glob that matches it. The set waits until nothing has changed for settleTime, at most settleLimit. Then
// it reads its files and applies those whose content is not the one that it applied last.
//
// Events are a shortcut. Every set also reads its files once per Interval, since some file systems report no events (NFS, FUSE) and
// the kernel may have no instance or watch left.
package filewatch
