package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A device is an output that stands still, runs full or breaks. Its methods may be called from any goroutine.
type device struct {
	gate chan struct{} // nil: it takes what comes; else it stands still until the gate is closed

	mu   sync.Mutex
	room int // bytes that it takes; negative: it has no end
	text bytes.Buffer
}

var errFull = errors.New("no space left")

func (d *device) Write(p []byte) (int, error) {
	if d.gate != nil {
		<-d.gate
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.room < 0 || len(p) <= d.room {
		if d.room >= 0 {
			d.room -= len(p)
		}
		return d.text.Write(p)
	}
	n, _ := d.text.Write(p[:d.room])
	d.room = 0
	return n, errFull
}

func (d *device) setRoom(bytes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = bytes
}

func (d *device) lines() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Split(strings.TrimSuffix(d.text.String(), "\n"), "\n")
}

// openDevice returns an output that writes to a device, and one for its warnings.
func openDevice(t *testing.T, d *device) (o *logOutput, stderr *device) {
	t.Helper()
	stderr = &device{room: -1}
	o, err := openOutput(outputStderr, d, func(lost uint64) []byte { return fmt.Appendf(nil, "lost %d\n", lost) })
	if err != nil {
		t.Fatal(err)
	}
	o.stderr = stderr
	return o, stderr
}

func (o *logOutput) put(t *testing.T, line string) {
	t.Helper()
	if n, err := o.Write([]byte(line + "\n")); err != nil || n != len(line)+1 {
		t.Errorf("Write(%q) = %d, %v", line, n, err)
	}
}

// lostCount returns the lines that the metric counts.
func (o *logOutput) lostCount(t *testing.T) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(o.lost)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

// Faults C4.
func TestALogReaderThatStandsStillDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &device{room: -1, gate: make(chan struct{})}
		o, _ := openDevice(t, d)
		o.put(t, "first")
		synctest.Wait() // it is being written
		const size = 1 << 10
		long := strings.Repeat("x", size-len("0000 \n"))
		for i := range mostQueuedLog/size + 3 {
			o.put(t, fmt.Sprintf("%04d %s", i, long))
		}
		if n := o.lostCount(t); n != 3 {
			t.Errorf("%v lines are counted as lost, want 3", n)
		}
		close(d.gate)
		synctest.Wait()
		o.put(t, "last")
		o.close()
		lines := d.lines()
		if lines[0] != "first" || lines[len(lines)-2] != "lost 3" || lines[len(lines)-1] != "last" {
			t.Errorf("lines %.9q … %.9q, want first … lost 3, last", lines[0], lines[len(lines)-2:])
		}
		if middle := lines[1 : len(lines)-2]; len(middle) != mostQueuedLog/size || !slices.IsSorted(middle) {
			t.Errorf("%d lines between them, want %d in order", len(middle), mostQueuedLog/size)
		}
	})
}

// Faults C4.
func TestAStopWaitsForTheLogForOneSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &device{room: -1, gate: make(chan struct{})}
		o, _ := openDevice(t, d)
		o.put(t, "a line")
		start := time.Now()
		o.close()
		if took := time.Since(start); took != logPatience {
			t.Errorf("the stop took %v, want %v", took, logPatience)
		}
		close(d.gate)
	})
}

// Faults C4.
func TestAFullDiskIsToldOnceAndAgainWhenItHasRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &device{room: len("whole\ncu")}
		o, stderr := openDevice(t, d)
		for _, line := range []string{"whole", "cut", "lost", "lost"} {
			o.put(t, line)
			synctest.Wait()
		}
		if n := o.lostCount(t); n != 3 {
			t.Errorf("%v lines are counted as lost, want 3", n)
		}
		if warnings := stderr.lines(); len(warnings) != 1 || !strings.Contains(warnings[0], errFull.Error()) {
			t.Errorf("stderr has %q, want one line with the cause", warnings)
		}
		d.setRoom(-1)
		o.put(t, "after")
		o.close()
		if want := []string{"whole", "cu", "lost 3", "after"}; !slices.Equal(d.lines(), want) {
			t.Errorf("lines %q, want %q", d.lines(), want)
		}
	})
}

func TestAnOutputThatPanicsLosesLines(t *testing.T) {
	o, err := openOutput(outputStderr, brokenOutput{}, func(uint64) []byte { return []byte("lost\n") })
	if err != nil {
		t.Fatal(err)
	}
	o.put(t, "a line")
	o.close()
	<-o.ended
	if n := o.lostCount(t); n != 1 {
		t.Errorf("%v lines are counted as lost, want 1", n)
	}
}

// A brokenOutput panics.
type brokenOutput struct{}

func (brokenOutput) Write([]byte) (int, error) { panic("broken output") }
