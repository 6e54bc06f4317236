package gateway

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"sluice/internal/admin"
)

// Why an upgrade is refused, with nothing begun.
var (
	errUpgrading  = errors.New("another upgrade is under way")
	errDraining   = errors.New("the gateway stops: it drains")
	errHandedOver = errors.New("the gateway has been handed over to a new process, and this one ends with its last session")
)

// Upgrade starts the program's file anew, with the arguments and the environment of this process, and hands the listening sockets and all
// sessions that can move to the new process. It returns when that has all, or why it has not: then the new process has ended, and this one
// goes on with what it has. After a success Run keeps what could not move for [gateway] drain at most, and returns. It waits until the
// gateway has started, unless ctx ends earlier; an upgrade that has begun to hand over doesn't end with ctx.
func (g *Gateway) Upgrade(ctx context.Context) (*admin.Upgraded, error) {
	report, err := g.tryUpgrade(ctx)
	if err != nil {
		g.log.Error("upgrade failed, this process goes on", zap.Error(err))
		return nil, err
	}
	g.log.Info("handed over to a new process", zap.Int("pid", report.PID), zap.String("build", report.Build), zap.Int("moved", report.Moved),
		zap.Any("stayed", report.Stayed), zap.Float64("seconds", report.Seconds), zap.Float64("longest_pause", report.LongestPause))
	return report, nil
}

func (g *Gateway) tryUpgrade(ctx context.Context) (report *admin.Upgraded, err error) {
	switch {
	case isDone(g.handedOver):
		return nil, errHandedOver
	case g.stopping.Err() != nil:
		return nil, errDraining
	case !g.upgrading.TryLock():
		return nil, errUpgrading
	}
	defer g.upgrading.Unlock()
	for _, begun := range []<-chan struct{}{g.started, g.takenOver} {
		select {
		case <-begun:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	g.reloading.Lock()
	defer g.reloading.Unlock()
	if isDone(g.handedOver) {
		return nil, errHandedOver
	}
	if g.proxy.IsDraining() {
		return nil, errDraining
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(g.stopping, cancel)()
	err = errPanicked
	g.panics.Guard(room, func() { report, err = g.handOver(ctx) })
	return report, err
}

// isDone reports whether a channel is closed.
func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
