package driver

import (
	"net"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"sluice/proxy/relay"
)

// scarceVariable makes a test run in a process of its own: its limit of descriptors is not that of the other tests.
const scarceVariable = "SLUICE_TEST_SCARCE"

// A session is relayed to whose client a 101 was sent, even if the driver has no descriptor to take it into a loop.
// Faults C2.
func TestASessionForWhichThereIsNoSpareDescriptorIsRelayed(t *testing.T) {
	if os.Getenv(scarceVariable) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.parallel=1")
		cmd.Env = append(os.Environ(), scarceVariable+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	limit := unix.Rlimit{Cur: 256, Max: 256}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	play(t, func(t *testing.T, k *kind) {
		if k.wrap != nil {
			t.Skip("a stream needs no descriptor")
		}
		for spare := range 2 { // one of the two that a loop needs
			d := openTested(t, k)
			x := &exchange{owner: newOwner(), driver: d, handle: &Handle{}, kind: k}
			d.owners = append(d.owners, x.owner)
			var ends [2]net.Conn
			x.client, ends[relay.Client] = newPeer(t, k, relay.Client, false)
			x.backend, ends[relay.Backend] = newPeer(t, k, relay.Backend, false)
			release := exhaust(t, spare)
			d.Relay(Params{Config: new(setup).filled(), Owner: x.owner, Handle: x.handle}, ends[relay.Client], ends[relay.Backend])
			text := x.client.text("hello")
			x.client.write(text)
			x.backend.want("a message", text)
			release()
			x.backend.write(x.backend.closing(1000, ""))
			x.client.wantClose("the backend's close", 1000, "")
			x.client.write(x.client.closing(1000, ""))
			x.backend.wantClose("the client's close", 1000, "")
			x.backend.close()
			x.client.close()
		}
	})
}

// exhaust opens files until only so many descriptors are left. The function that it returns closes them.
func exhaust(t *testing.T, spare int) (release func()) {
	t.Helper()
	var all []int
	for {
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == unix.EMFILE {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fd)
	}
	for range spare {
		_ = unix.Close(all[len(all)-1])
		all = all[:len(all)-1]
	}
	return func() {
		for _, fd := range all {
			_ = unix.Close(fd)
		}
	}
}
