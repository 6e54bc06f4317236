package proxy

import (
	"sluice/proxy/driver"
	"sluice/proxy/h2"
	"sluice/proxy/relay"
)

// Each side of a task may be a stream: the client's (executor_stream_linux.go), and the backend's
// (executor_backend_linux.go).

// Head implements driver.StreamTask.
func (t *task) Head(w driver.Work, side relay.Side, head *h2.Head, isEnd bool) {
	if side == relay.Client {
		t.clientHead(w, head, isEnd)
	} else {
		t.backendHead(w, head, isEnd)
	}
}

// Data implements driver.StreamTask.
func (t *task) Data(w driver.Work, side relay.Side, p []byte, isEnd bool) {
	if side == relay.Client {
		t.clientData(w, p, isEnd)
	} else {
		t.backendData(w, p, isEnd)
	}
}

// Reset implements driver.StreamTask.
func (t *task) Reset(w driver.Work, side relay.Side, code h2.Code, err error) {
	if side == relay.Client {
		t.clientReset(w, code, err)
	} else {
		t.backendReset(w, code, err)
	}
}
