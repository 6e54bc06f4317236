package admin

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
)

func TestARequestThatPanicsIsA500AndTheServerGoesOn(t *testing.T) {
	var told, isMended atomic.Int64
	handler := recoverPanics(func(name string, cause any, stack []byte) {
		told.Add(1)
		if name != room || cause != "boom" || !bytes.Contains(stack, []byte("admin.TestARequest")) {
			t.Errorf("told of %v in the room %s with the stack\n%s", cause, name, stack)
		}
	}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		switch {
		case r.URL.Path == "/begun":
			_, _ = io.WriteString(w, "half")
			panic("boom")
		case r.URL.Path == "/aborted":
			panic(http.ErrAbortHandler)
		case isMended.Load() == 0:
			panic("boom")
		}
		w.Header().Del("Content-Length")
		handleHealth(w, r)
	}))
	server := httptest.NewServer(handler)
	defer server.Close()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // on a connection that was used before, it would ask twice
	ask := func(path string) (status int, body []byte, err error) {
		answer, err := client.Get(server.URL + path)
		if err != nil {
			return 0, nil, err
		}
		defer answer.Body.Close()
		body, err = io.ReadAll(answer.Body)
		return answer.StatusCode, body, err
	}

	status, body, err := ask("/")
	var text Error
	if err != nil || status != http.StatusInternalServerError || json.Unmarshal(body, &text) != nil || text.Error == "" {
		t.Errorf("%d %s, %v; want 500 with an error", status, body, err)
	}
	for _, path := range []string{"/begun", "/aborted"} {
		if _, body, err := ask(path); err == nil {
			t.Errorf("%s: %q, as if it were whole", path, body)
		}
	}
	if n := told.Load(); n != 2 {
		t.Errorf("%d panics were told, want those of / and /begun", n)
	}
	isMended.Store(1)
	if status, body, err := ask("/"); err != nil || status != http.StatusOK {
		t.Errorf("%d %s, %v after the panics", status, body, err)
	}
}

func TestAPanicOfAnyHandlerIsRecovered(t *testing.T) {
	told := 0
	handler := newHandler(Options{
		IsReady: func() bool { panic("boom") },
		Log:     zap.NewNop(),
		Panics:  func(string, any, []byte) { told++ },
	}, "", false)
	for _, request := range []*http.Request{
		httptest.NewRequest("GET", "/readyz", nil),
		httptest.NewRequest("GET", "/api/v1/pools", nil), // there is no proxy
	} {
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		if recorder.Code != http.StatusInternalServerError {
			t.Errorf("%s: %d", request.URL, recorder.Code)
		}
	}
	if told != 2 {
		t.Errorf("%d panics were told, want 2", told)
	}
}
