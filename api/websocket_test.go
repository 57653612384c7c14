// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/cleatd/cleat/state"
)

// open opens a websocket, or returns why not.
func open(t *testing.T, dialer *websocket.Dialer, url string, header http.Header) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	conn, response, err := dialer.DialContext(t.Context(), url, header)
	if err == nil {
		t.Cleanup(func() { _ = conn.Close() })
		err = conn.SetReadDeadline(time.Now().Add(time.Minute))
	}
	return conn, response, err
}

func (s *testServer) dialer() *websocket.Dialer {
	return &websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.socket)
	}}
}

// talk opens a websocket at the socket.
func (s *testServer) talk(t *testing.T, path string) *websocket.Conn {
	t.Helper()
	conn, response, err := open(t, s.dialer(), "ws://cleat"+path, nil)
	if err != nil {
		t.Fatalf("%v: %+v", err, response)
	}
	return conn
}

func say(t *testing.T, conn *websocket.Conn, text string) {
	t.Helper()
	if err := conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// hear checks that the next message has text, and is one.
func hear(t *testing.T, conn *websocket.Conn, text string) {
	t.Helper()
	_, message, err := conn.ReadMessage()
	if err != nil || !strings.Contains(strings.ReplaceAll(string(message), " ", ""), text) || strings.Contains(string(message), "\n") {
		t.Fatalf("got %q, %v; want %s", message, err, text)
	}
}

func TestAWebsocketWatches(t *testing.T) {
	s := startServer(t, nil)
	conn := s.talk(t, "/v3/watch")
	say(t, conn, `{"create_request":{"key":"Zm9v"}}`)
	hear(t, conn, `"created":true`)
	if code, body := s.post(t, "/v3/kv/put", `{"key":"Zm9v","value":"YmFy"}`); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	hear(t, conn, `"value":"YmFy"`)
	say(t, conn, `{"create_request":{"key":"Zm9v","watch_id":"7"}}`)
	hear(t, conn, `"watch_id":"7","created":true`)
	say(t, conn, `{"cancel_request":{"watch_id":"7"}}`)
	hear(t, conn, `"watch_id":"7","canceled":true`)
}

// Who calls over a websocket is who opened the connection, whatever it says.
func TestAWebsocketCarriesTheCallerInItsConnection(t *testing.T) {
	s := startServer(t, func(c *Config) {
		c.SocketUsers = func(uint32, []uint32) (state.Identity, error) { return state.Identity{Name: "bob"}, nil }
	})
	ours := newAuthority(t)
	address := startTLS(t, s, ours.serverConfig(t))
	config := ours.clientConfig(ours.issue(t, "alice", time.Now().Add(time.Hour)))
	claims := http.Header{
		"Authorization": {"root"}, "Grpc-Metadata-Identity": {"root"}, "Grpc-Metadata-Authorization": {"root"},
		"Cookie": {"token=root"}, "Sec-Websocket-Protocol": {"Bearer, root"},
	}
	for _, c := range []struct {
		dialer *websocket.Dialer
		url    string
		who    state.Identity
	}{
		{s.dialer(), "ws://cleat", state.Identity{Name: "bob"}},
		{&websocket.Dialer{TLSClientConfig: config}, "wss://" + address, state.Identity{Name: "alice"}},
	} {
		conn, response, err := open(t, c.dialer, c.url+"/v3/watch", claims)
		if err != nil {
			t.Fatalf("%v: %+v", err, response)
		}
		say(t, conn, `{"create_request":{"key":"Zm9v"}}`)
		hear(t, conn, `"created":true`)
		if got := s.gatewayUsers(); !slices.Equal(got, []state.Identity{c.who}) {
			t.Errorf("the gateway asks for %+v, want %+v", got, c.who)
		}
		_ = conn.Close()
		eventually(t, func() error {
			if got := s.gatewayUsers(); len(got) != 0 {
				return fmt.Errorf("the gateway still asks for %+v", got)
			}
			return nil
		})
	}
}

// gatewayUsers are those in whose name the gateway asks at present.
func (s *testServer) gatewayUsers() (users []state.Identity) {
	s.gateway.mu.Lock()
	defer s.gateway.mu.Unlock()
	for who, l := range s.gateway.links {
		if l.users > 0 {
			users = append(users, who)
		}
	}
	return users
}

func TestAWebsocketIsRefusedToStrangersAndToOtherSites(t *testing.T) {
	var strange atomic.Bool
	s := startServer(t, func(c *Config) {
		c.SocketUsers = func(uint32, []uint32) (state.Identity, error) {
			if strange.Load() {
				return state.Identity{}, errors.New("join group cleat")
			}
			return state.Identity{Name: "me"}, nil
		}
	})
	for origin, want := range map[string]int{
		"http://cleat": 101, "https://cleat": 101, "https://CLEAT": 101,
		"https://elsewhere.example": 403, "https://cleat.elsewhere.example": 403, "https://cleat:2379": 403, "null": 403, "": 403,
	} {
		_, response, err := open(t, s.dialer(), "ws://cleat/v3/watch", http.Header{"Origin": {origin}})
		if response == nil || response.StatusCode != want {
			t.Errorf("Origin %q: got %+v, %v; want %d", origin, response, err, want)
		}
	}
	strange.Store(true)
	if _, response, err := open(t, s.dialer(), "ws://cleat/v3/watch", nil); response == nil || response.StatusCode != 403 {
		t.Errorf("a stranger: got %+v, %v", response, err)
	}
}

func TestAMessageBeyondTheLimitEndsTheWebsocket(t *testing.T) {
	s := startServer(t, nil)
	conn := s.talk(t, "/v3/watch")
	say(t, conn, fmt.Sprintf(`{"create_request":{"key":%q}}`, strings.Repeat("A", int(s.gateway.most()))))
	if _, message, err := conn.ReadMessage(); !websocket.IsCloseError(err, websocket.CloseMessageTooBig) {
		t.Errorf("got %.100q, %v", message, err)
	}
}

// A client that leaves takes its watch with it.
func TestAWatchEndsWithItsWebsocket(t *testing.T) {
	s := startServer(t, nil)
	conn := s.talk(t, "/v3/watch")
	say(t, conn, `{"create_request":{"key":"Zm9v"}}`)
	hear(t, conn, `"created":true`)
	_ = conn.Close()
	eventually(t, func() error {
		s.streams.mu.Lock()
		defer s.streams.mu.Unlock()
		if n := len(s.streams.open); n != 0 {
			return fmt.Errorf("%d streams are open", n)
		}
		return nil
	})
}

func TestStopEndsWebsocketsWithAWordOrWithout(t *testing.T) {
	s := startServer(t, nil)
	watching, silent := s.talk(t, "/v3/watch"), s.talk(t, "/v3/kv/range")
	say(t, watching, `{"create_request":{"key":"Zm9v"}}`)
	hear(t, watching, `"created":true`)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		s.Stop(ctx)
		close(stopped)
	}()
	hear(t, watching, `{"error":{"code":14,`)
	if _, message, err := watching.ReadMessage(); err == nil {
		t.Errorf("after the end came %q", message)
	}
	cancel() // the other one has had its time
	<-stopped
	if _, message, err := silent.ReadMessage(); err == nil {
		t.Errorf("who asked nothing got %q", message)
	}
	if _, _, err := open(t, s.dialer(), "ws://cleat/v3/watch", nil); err == nil {
		t.Error("a websocket opened after Stop")
	}
}
