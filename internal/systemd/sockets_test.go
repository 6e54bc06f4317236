package systemd

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestMain makes the test binary the service that gets the sockets, since their descriptors have fixed numbers.
func TestMain(m *testing.M) {
	if os.Getenv("SYSTEMD_TEST_AS_SERVICE") != "" {
		// systemd sets the pid of the process that it starts; here the process sets its own.
		_ = os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
		serveAsTold(os.Args[1:])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serveAsTold takes the sockets of each "name address" and reports the results.
func serveAsTold(wanted []string) {
	sockets, err := NewSockets()
	if err != nil {
		fmt.Println("problem:", err)
	}
	for _, w := range wanted {
		name, address, _ := strings.Cut(w, " ")
		listener := sockets.Take(name, address)
		if listener == nil {
			fmt.Println("none:", w)
			continue
		}
		conn, err := listener.Accept()
		if err != nil {
			fmt.Println(err)
			return
		}
		_ = conn.Close()
		fmt.Println(name, "accepts at", listener.Addr())
	}
	fmt.Println("rest:", sockets.Rest())
	again, _ := NewSockets()
	fmt.Println("left in the environment:", len(again.left))
}

func TestSocketsAreTakenByNameOrByAddress(t *testing.T) {
	var files []*os.File
	var addresses []net.Addr
	listen := func(network, address string) {
		ln, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		if ln, isUnix := ln.(*net.UnixListener); isUnix {
			ln.SetUnlinkOnClose(false)
		}
		file, err := ln.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = file.Close() })
		files, addresses = append(files, file), append(addresses, ln.Addr())
		// Its connection waits until the service accepts.
		conn, err := net.Dial(network, ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	path := filepath.Join(t.TempDir(), "sock")
	listen("tcp", "127.0.0.1:0")
	listen("unix", path)
	listen("tcp", "[::]:0")
	listen("tcp", "127.0.0.1:0")
	datagrams, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	file, err := datagrams.(*net.UDPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	files = append(files, file)

	port := addresses[2].(*net.TCPAddr).Port
	wildcard := fmt.Sprintf("0.0.0.0:%d", port)
	service := exec.Command(os.Args[0], "public 203.0.113.1:80", "local unix:"+path, "other "+wildcard, "none 127.0.0.1:1")
	service.ExtraFiles = files
	service.Env = append(os.Environ(), "SYSTEMD_TEST_AS_SERVICE=1", "LISTEN_FDS=5", "LISTEN_FDNAMES=public:x:y:surplus:datagrams")
	out, err := service.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := string(out)
	for _, want := range []string{
		`problem: `, `socket "datagrams" of systemd, descriptor 7`,
		fmt.Sprintf("public accepts at %v\n", addresses[0]),
		fmt.Sprintf("local accepts at %v\n", path),
		fmt.Sprintf("other accepts at [::]:%d\n", port),
		"none: none 127.0.0.1:1\n",
		fmt.Sprintf("rest: [surplus (%v)]\n", addresses[3]),
		"left in the environment: 0\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the service says\n%s\nwant %q in it", got, want)
		}
	}
}

func TestSocketsOfAnotherProcessAreLeftAlone(t *testing.T) {
	t.Setenv("LISTEN_PID", "1")
	t.Setenv("LISTEN_FDS", "1")
	sockets, err := NewSockets()
	if err != nil || len(sockets.left) != 0 {
		t.Errorf("NewSockets() = %d sockets, %v; want none", len(sockets.left), err)
	}
}
