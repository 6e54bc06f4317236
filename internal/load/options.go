package load

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/internal/units"
)

// Mode is the kind of a load; doc.go describes each.
type Mode string

const (
	Echo  Mode = "echo"
	Push  Mode = "push"
	Idle  Mode = "idle"
	Storm Mode = "storm"
	Soak  Mode = "soak"
)

var modes = []Mode{Echo, Push, Idle, Storm, Soak}

// Options describe a load and its target.
type Options struct {
	Mode        Mode
	URL         string        // ws:// or wss://
	Connections int           // concurrent sessions
	From        int           // idle: the memory of this many sessions is the base of the comparison; 0: of none
	Duration    time.Duration // the measured time, after which every load ends
	Warmup      time.Duration // the time that the load runs before
	Count       int64         // messages (storm: handshakes) after which the load ends early; 0: no limit
	Size        units.Bytes   // payload of a message; soak: of the largest
	Window      int           // messages in flight on each connection
	Rate        float64       // messages per second over all connections; 0: as fast as they come back
	Seed        uint64        // soak
	Streams     int           // sessions on each connection, over HTTP/2; 0: HTTP/1.1
	Loops       int           // epoll loops; 0: one per CPU
	PIDs        []int         // processes whose CPU and memory are measured
	Resume      bool          // storm over wss: resume TLS sessions
	CA          string        // wss: a PEM file of certificates to trust; "": the system's
	AllowRemote bool
}

// AddFlags declares the options as flags, with their defaults.
func (o *Options) AddFlags(flags *flag.FlagSet) {
	flags.StringVar((*string)(&o.Mode), "mode", string(Echo), "the kind of load: echo, push, idle, storm or soak")
	flags.StringVar(&o.URL, "url", "", "the `URL` to put load on, ws:// or wss://")
	flags.IntVar(&o.Connections, "c", 100, "the number of concurrent connections")
	flags.IntVar(&o.From, "from", 0, "idle: measure the growth of memory from this `NUMBER` of sessions")
	flags.DurationVar(&o.Duration, "d", 10*time.Second, "the time to measure")
	flags.DurationVar(&o.Warmup, "warmup", 0, "the time to run before measuring")
	flags.Int64Var(&o.Count, "n", 0, "end after this `NUMBER` of messages (storm: handshakes), if -d is not over")
	o.Size = 64
	flags.TextVar(&o.Size, "size", o.Size, "the payload of a message in `BYTES` (soak: of the largest message), such as 16KiB")
	flags.IntVar(&o.Window, "window", 1, "the number of messages in flight on each connection")
	flags.Float64Var(&o.Rate, "rate", 0, "echo: messages per second over all connections, each sent when it is due (0: each sent when the last one came back)")
	flags.Uint64Var(&o.Seed, "seed", 1, "soak: the seed of all random values")
	flags.IntVar(&o.Streams, "http2", 0, "use HTTP/2 with this `NUMBER` of sessions on each connection: by ALPN with wss, by prior knowledge with ws (0: HTTP/1.1)")
	flags.IntVar(&o.Loops, "loops", 0, "the number of epoll loops (0: one per CPU)")
	flags.Var((*pidList)(&o.PIDs), "pid", "measure the CPU and memory of these processes: `PID[,PID…]`")
	flags.BoolVar(&o.Resume, "resume", false, "storm over wss: resume TLS sessions")
	flags.StringVar(&o.CA, "ca", "", "wss: PEM `FILE` of certificates to trust instead of the system's")
	flags.BoolVar(&o.AllowRemote, "allow-remote", false, "allow an address that is not a loopback address")
}

// An OptionError is an invalid option. No load was started.
type OptionError struct{ text string }

func (e OptionError) Error() string { return e.text }

func optionf(format string, args ...any) error { return OptionError{fmt.Sprintf(format, args...)} }

// Check returns the first problem of the options as an OptionError, or nil.
func (o *Options) Check() error {
	if !slices.Contains(modes, o.Mode) {
		return optionf("-mode %s: want one of %v", o.Mode, modes)
	}
	problems := []struct {
		isWrong bool
		text    string
	}{
		{o.URL == "", "-url is missing"},
		{o.Connections < 1, "-c: want at least 1"},
		{o.From < 0 || o.From >= o.Connections, "-from: want 0 or more, and less than -c"},
		{o.From > 0 && o.Mode != Idle, "-from is for -mode idle"},
		{o.Duration <= 0, "-d: want more than 0s"},
		{o.Warmup < 0, "-warmup: want 0s or more"},
		{o.Count < 0, "-n: want 0 or more"},
		{o.Count > 0 && o.Mode == Idle, "-n: sessions of -mode idle send one message each"},
		{o.Size > maxSize, fmt.Sprintf("-size: want at most %v", units.Bytes(maxSize))},
		{o.Mode == Soak && o.Size < minSoakSize, fmt.Sprintf("-size: soak wants at least %d", minSoakSize)},
		{o.Window < 1 || o.Window > maxWindow, fmt.Sprintf("-window: want 1 to %d", maxWindow)},
		{o.Window > 1 && o.Mode != Echo && o.Mode != Soak, "-window is for -mode echo and soak"},
		{o.Window > 1 && o.Rate > 0, "-window and -rate can't be combined: with -rate messages are sent when they are due"},
		{o.Rate < 0, "-rate: want 0 or more"},
		{o.Rate > 0 && o.Mode != Echo, "-rate is for -mode echo"},
		{o.Loops < 0, "-loops: want 0 or more"},
		{o.Streams < 0 || o.Streams > maxStreams, fmt.Sprintf("-http2: want 0 to %d", maxStreams)},
		{o.Streams > 0 && o.Mode == Storm, "-http2: -mode storm opens a connection for each handshake"},
		{o.Resume && (o.Mode != Storm || !o.isTLS()), "-resume is for -mode storm over wss://"},
		{o.CA != "" && !o.isTLS(), "-ca is for wss://"},
	}
	for _, p := range problems {
		if p.isWrong {
			return OptionError{p.text}
		}
	}
	return nil
}

func (o *Options) isTLS() bool { return strings.HasPrefix(strings.ToLower(o.URL), "wss:") }

const (
	maxSize    = 64 << 20 // one message is kept whole, once per run
	maxWindow  = 1 << 16
	maxStreams = 1 << 16
)

// pidList is a list of process ids as a flag.
type pidList []int

func (l *pidList) String() string {
	var parts []string
	for _, pid := range *l {
		parts = append(parts, strconv.Itoa(pid))
	}
	return strings.Join(parts, ",")
}

func (l *pidList) Set(s string) error {
	for part := range strings.SplitSeq(s, ",") {
		pid, err := strconv.Atoi(part)
		if err != nil || pid < 1 {
			return fmt.Errorf("%q is not a process id", part)
		}
		*l = append(*l, pid)
	}
	return nil
}
