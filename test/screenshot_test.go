//go:build unix

package test

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// With SLUICE_TEST_SCREENSHOTS=DIR, the pictures of the dashboard that the documentation shows are made there, under traffic that
// has something of everything. It takes some minutes: the plots show five.
func TestScreenshotsOfTheDashboard(t *testing.T) {
	directory := os.Getenv("SLUICE_TEST_SCREENSHOTS")
	if directory == "" {
		t.Skip("SLUICE_TEST_SCREENSHOTS names no directory")
	}
	requires(t, needBrowser)
	seconds := 310
	if text := os.Getenv("SLUICE_TEST_SCREENSHOTS_SECONDS"); text != "" {
		var err error
		if seconds, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	span := time.Duration(seconds) * time.Second
	var addresses []string
	var backends []*stub
	for range 6 {
		backend := startStub(t, "127.0.0.1:0")
		backend.behave(talkative)
		addresses, backends = append(addresses, backend.address), append(backends, backend)
	}
	g := runGateway(t, quietBasics+sceneRoutes+scenePool("chat", addresses[:4])+scenePool("notify", addresses[4:]))
	scene := startScene(t, g, 600)
	time.AfterFunc(span*6/10, backends[5].close)
	drain := exec.Command(sluice, "drain", "-admin", g.admin, "-over", "90s", "chat", addresses[3])
	time.AfterFunc(span*9/10, func() { _ = drain.Run() })
	cmd := exec.CommandContext(t.Context(), "node", "peers/screenshots.js", "http://"+g.admin+"/", directory, strconv.Itoa(seconds))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("screenshots.js: %v", err)
	}
	scene.end()
	var seen struct{ Complaints []string }
	if err := json.Unmarshal(out, &seen); err != nil || len(seen.Complaints) > 0 {
		t.Errorf("Chromium complains: %v\n%s", err, strings.Join(seen.Complaints, "\n"))
	}
}

const sceneRoutes = `
[[route]]
path = "/chat"
pool = "chat"
ping_interval = "3s"
[[route]]
path = "/notify"
pool = "notify"
ping_interval = "3s"
`

func scenePool(name string, addresses []string) string {
	text := "[[pool]]\nname = \"" + name + "\"\n[pool.health]\nkind = \"tcp\"\ninterval = \"2s\"\n"
	for _, address := range addresses {
		text += "[[pool.backend]]\naddress = \"" + address + "\"\n"
	}
	return text
}

// A scene is clients that chat, listen, come and go, and now and then do what they shouldn't.
type scene struct {
	gateway *gateway
	began   time.Time
	stop    chan struct{}
	players sync.WaitGroup
}

func startScene(t *testing.T, g *gateway, players int) *scene {
	s := &scene{gateway: g, began: time.Now(), stop: make(chan struct{})}
	t.Cleanup(s.end)
	for i := range players {
		s.players.Go(func() { s.play(i) })
	}
	return s
}

// end ends the scene. It may be called twice.
func (s *scene) end() {
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.players.Wait()
}

// play is a client, which comes again when its session has ended.
func (s *scene) play(i int) {
	rooms := []string{"general", "support", "release-train", "weekend", "incident-4711"}
	for {
		path := "/chat/rooms/" + rooms[rand.IntN(len(rooms))]
		if i%4 == 0 {
			path = "/notify/users/" + strconv.Itoa(1000+i)
		}
		client, err := join(s.gateway.listeners["public"], net.IPv4(127, byte(20+i%3), byte(i%250), byte(1+rand.IntN(250))), path)
		if err == nil {
			s.talk(client, i%4 == 0)
			_ = client.conn.Close()
			<-client.ended
		}
		select {
		case <-s.stop:
			return
		case <-time.After(time.Duration(rand.IntN(40_000)) * time.Millisecond):
		}
	}
}

// talk sends messages until the session ends, in its own time.
func (s *scene) talk(client *guest, isQuiet bool) {
	left := time.After(time.Duration(5+rand.ExpFloat64()*90) * time.Second)
	for {
		// More is said at some times than at others.
		at := time.Since(s.began).Seconds()
		tide := 2 + math.Sin(at/47) + 0.6*math.Sin(at/11)
		gap := time.Duration(float64(time.Second) * 3 / tide)
		if isQuiet {
			gap *= 8
		}
		select {
		case <-s.stop:
			return
		case <-client.ended:
			return
		case <-left:
			codes := []ws.StatusCode{1000, 1000, 1000, 1001, 1001, 4001, 0}
			switch code := codes[rand.IntN(len(codes))]; code {
			case 0: // a frame that no client may send
				_ = ws.WriteFrame(client.conn, ws.NewTextFrame([]byte("unmasked")))
			default:
				_ = ws.WriteFrame(client.conn, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(code, ""))))
			}
			<-client.ended
			return
		case <-time.After(time.Duration(rand.Float64() * 2 * float64(gap))):
			_ = client.say(strings.Repeat("message ", 4+rand.IntN(60)))
		}
	}
}
