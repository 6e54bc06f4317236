package gateway

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"sluice/handover"
)

func TestAnUpgradeIsRefusedWhereItCanNotBe(t *testing.T) {
	for name, test := range map[string]struct {
		keys      string
		successor func() *exec.Cmd
		want      error
	}{
		"without a program":      {want: errNoProgram},
		"with another driver":    {keys: "driver = \"goroutine\"\n", successor: func() *exec.Cmd { return exec.Command("true") }, want: errNoLoops},
		"by a program that ends": {successor: func() *exec.Cmd { return exec.Command("true") }},
	} {
		g := startGateway(t, test.keys, failingLog{t})
		g.options.Successor = test.successor
		report, err := g.Upgrade(context.Background())
		isIt := errors.Is(err, test.want)
		if test.want == nil {
			isIt = err != nil && strings.Contains(err.Error(), "the new process has ended: exit status 0")
		}
		if report != nil || !isIt {
			t.Errorf("%s: %+v, %v; want error %v", name, report, err, test.want)
		}
		if _, err := g.Reload(context.Background()); err != nil {
			t.Errorf("%s: a reload after it: %v", name, err)
		}
	}
}

func TestOneUpgradeAtATime(t *testing.T) {
	g := startGateway(t, "", failingLog{t})
	g.upgrading.Lock()
	defer g.upgrading.Unlock()
	if _, err := g.Upgrade(context.Background()); !errors.Is(err, errUpgrading) {
		t.Errorf("an upgrade during another: %v, want %v", err, errUpgrading)
	}
}

func TestAFailedSendShowsTheEndOfTheOtherProcessOnlyIfItHasEnded(t *testing.T) {
	for name, test := range map[string]struct {
		act  func(before *handover.Conn) error
		want bool
	}{
		"it has ended":       {(*handover.Conn).Close, true},
		"it reads no longer": {(*handover.Conn).CloseRead, false},
	} {
		socket, file, err := socketPair()
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		other, err := net.FileConn(file)
		if err != nil {
			t.Fatal(err)
		}
		_ = file.Close()
		before, err := handover.New(socket, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		defer before.Close()
		conn, err := handover.New(other.(*net.UnixConn), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := test.act(before); err != nil {
			t.Fatal(err)
		}
		err = conn.Send(handover.KindStarted, &handover.Started{}, nil)
		p := &predecessor{conn: conn}
		if got := p.hasEnded(err); err == nil || got != test.want {
			t.Errorf("%s: error %v shows its end: %t, want %t", name, err, got, test.want)
		}
	}
}
