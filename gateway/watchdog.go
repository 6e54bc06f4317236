package gateway

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// feedWatchdog notifies systemd that the gateway is alive, as often as systemd expects, until ctx ends. While a loop stands still, the
// gateway isn't alive.
func (g *Gateway) feedWatchdog(ctx context.Context) {
	interval := g.options.Notifier.WatchdogInterval()
	if interval == 0 {
		return
	}
	ticker := time.NewTicker(interval / 3) // sd_watchdog_enabled(3) advises less than half
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			g.panics.Guard(room, func() {
				g.driver.Turns() // waits for a turn of each loop
				g.notified(g.options.Notifier.Alive())
			})
		}
	}
}

// notified logs the error of a notification of systemd.
func (g *Gateway) notified(err error) {
	if err != nil {
		g.log.Warn("systemd is not notified", zap.Error(err))
	}
}
