package recovery

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// notes is a Handler that keeps its calls.
type notes struct {
	rooms  []string
	causes []any
	stacks []string
}

func (n *notes) handle(room string, cause any, stack []byte) {
	n.rooms, n.causes, n.stacks = append(n.rooms, room), append(n.causes, cause), append(n.stacks, string(stack))
}

func explode() { panic("broken") }

func TestCatchReportsThePanicWithItsStackAndCallsEnd(t *testing.T) {
	var n notes
	hasEnded := false
	func() {
		defer Handler(n.handle).Catch("room", func() { hasEnded = true })
		explode()
	}()
	if !slices.Equal(n.rooms, []string{"room"}) || !slices.Equal(n.causes, []any{"broken"}) {
		t.Fatalf("reported %q, %q; want room, broken", n.rooms, n.causes)
	}
	if !strings.Contains(n.stacks[0], "recovery.explode") {
		t.Errorf("the stack doesn't name the function that panicked:\n%s", n.stacks[0])
	}
	if !hasEnded {
		t.Error("end wasn't called")
	}
}

func TestAPanicOfEndIsReportedOnceAndEnds(t *testing.T) {
	var n notes
	func() {
		defer Handler(n.handle).Catch("room", explode)
		panic("first")
	}()
	if want := []any{"first", "broken"}; !slices.Equal(n.causes, want) {
		t.Errorf("reported %q; want %q", n.causes, want)
	}
}

func TestNothingIsReportedWithoutAPanic(t *testing.T) {
	var n notes
	h := Handler(n.handle)
	if !h.Guard("room", func() {}) {
		t.Error("Guard = false for a function that returned")
	}
	if h.Guard("room", explode) {
		t.Error("Guard = true for a function that panicked")
	}
	if len(n.causes) != 1 {
		t.Errorf("reported %q; want one panic", n.causes)
	}
}

func TestANilHandlerRecoversNothing(t *testing.T) {
	defer func() {
		if cause := recover(); cause != "broken" {
			t.Errorf("recovered %v; want the panic to pass", cause)
		}
	}()
	var h Handler
	h.Guard("room", explode)
	t.Error("Guard returned")
}

func TestTryReturnsAPanicAsAnError(t *testing.T) {
	own := errors.New("own")
	for _, test := range []struct {
		name string
		f    func() error
		want string // "" if there is no error
	}{
		{"nothing", func() error { return nil }, ""},
		{"an error", func() error { return own }, "own"},
		{"a panic", func() error { panic("broken\nin two lines") }, "panics: broken"},
		{"a fault of the runtime", func() error { _ = []int(nil)[len(os.Args)]; return nil }, "panics: runtime error: index out of range"},
	} {
		err := Try(test.f)
		if (err == nil) != (test.want == "") || err != nil && !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: %v; want %q", test.name, err, test.want)
		}
	}
}
