// SPDX-License-Identifier: Apache-2.0

package compat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// talk is a websocket to the gateway, and what was said there.
type talk struct {
	*side
	path string
	conn *websocket.Conn // nil: it was refused
	said strings.Builder
}

// talk opens a websocket. The outcome of opening it is the first that is said.
func (s *side) talk(path string, header http.Header) *talk {
	s.Helper()
	dialer, url := websocket.Dialer{HandshakeTimeout: patience, TLSClientConfig: s.tls}, "ws://localhost"
	switch {
	case s.socket != "":
		dialer.NetDialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", s.socket)
		}
	case s.tls != nil:
		url = "wss://" + s.address
	default:
		url = "ws://" + s.address
	}
	conn, response, err := dialer.DialContext(s.Context(), url+path, header)
	if response == nil {
		s.Fatalf("%s: %s: %v", s.name, path, err)
	}
	t := &talk{side: s, path: path, conn: conn}
	fmt.Fprintf(&t.said, "%s %s", heading(response), response.Header.Get("Sec-Websocket-Protocol"))
	if conn != nil {
		s.Cleanup(func() { _ = conn.Close() })
	}
	return t
}

// say may find the connection ended already, which is heard next.
func (t *talk) say(body string) {
	_ = t.conn.WriteMessage(websocket.TextMessage, []byte(encoded(body)))
}

// hear takes in the next message, or the end: a farewell of the server, or none.
func (t *talk) hear() {
	t.Helper()
	if err := t.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	kind, text, err := t.conn.ReadMessage()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		t.Fatalf("%s: nothing more at %s after %s", t.name, t.path, t.said.String())
	case websocket.IsUnexpectedCloseError(err, websocket.CloseAbnormalClosure):
		fmt.Fprintf(&t.said, "\nended with %v", err)
	case err != nil:
		fmt.Fprint(&t.said, "\nended") // in the midst of what the client said, it may be a reset
	default:
		fmt.Fprintf(&t.said, "\n%d %s", kind, canonical(string(text)))
	}
}

// exchange says each body and hears one message after each.
func (t *talk) exchange(bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		t.say(body)
		t.hear()
	}
}

// end writes down all that was said.
func (t *talk) end(step string) {
	t.note(step, t.said.String())
	if t.conn != nil {
		_ = t.conn.Close()
	}
}

func TestWebsocketWatch(t *testing.T) {
	alike(t, both, func(s *side) {
		s.ask(put("a", "1"), put("a", "2"))
		w := s.talk("/v3/watch", nil)
		w.exchange(`{"create_request":{"key":"@a"}}`)
		s.ask(put("a", "3"))
		w.hear()
		w.exchange(`{"create_request":{"key":"@b","range_end":"AA==","prev_kv":true,"watch_id":"7"}}`, `{"cancel_request":{}}`)
		s.ask(put("b", "4"))
		w.hear() // what comes next knows of that revision
		w.exchange(`{"cancel_request":{"watch_id":"7"}}`)
		w.exchange(`{"create_request":{"key":"@a","start_revision":"2"}}`)
		w.hear()
		w.end("a watch")

		for _, path := range []string{"/v3beta/watch", "/v3/watch?method=GET"} {
			w = s.talk(path, nil)
			w.exchange(`{"create_request":{"key":"@a"}}`)
			w.end("a watch at " + path)
		}

		w = s.talk("/v3/watch", nil)
		w.exchange(`{"create_request":{"key":"@a"}}`)
		w.say(`{}`)
		w.say(`nonsense`) // ends the requests, not the watch
		s.ask(put("a", "5"))
		w.hear()
		w.end("a watch and nonsense")
	})
}

// The last message of some of these is no JSON, and the connection ends after it.
func TestWebsocketCalls(t *testing.T) {
	alike(t, both, func(s *side) {
		s.post("/v3/lease/grant", `{"ID":"7","TTL":"1000"}`)
		w := s.talk("/v3/lease/keepalive", nil)
		w.exchange(`{"ID":"7"}`, `{"ID":"99"}`, "{\"ID\":\n\"7\"}")
		w.say(`{"ID":"7"}{"ID":"99"}`)
		w.hear()
		w.hear()
		w.end("renewals")
		for _, c := range [][2]string{
			{"/v3/lease/keepalive", `[]`}, {"/v3/kv/put", `{"key":1}`}, {"/v3/kv/range", `{"key":"@a","limit":"many"}`}, {"/v3/nothing", `{}`},
		} {
			w := s.talk(c[0], nil)
			w.exchange(c[1])
			w.hear()
			w.end(c[1] + " at " + c[0])
		}
		s.post("/v3/kv/range", `{"key":"AA==","range_end":"AA=="}`)
	})
}

func TestWebsocketOpening(t *testing.T) {
	alike(t, both, func(s *side) {
		open := func(step string, header http.Header) {
			s.Helper()
			s.talk("/v3/watch", header).end("opened " + step)
		}
		open("with a token", http.Header{"Sec-Websocket-Protocol": {"Bearer, token"}})
		open("with another protocol", http.Header{"Sec-Websocket-Protocol": {"chat"}})
		s.talk("/health", nil).end("at another path")
		s.excused("pages of other sites", func() {
			open("by the page of another site", http.Header{"Origin": {"https://elsewhere.example"}})
			open("by no page in particular", http.Header{"Origin": {"null"}})
		})
		s.openBadly("in an old version", http.Header{
			"Connection": {"upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"8"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}})
		s.openBadly("without a key", http.Header{
			"Connection": {"upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}})
	})
}

// openBadly asks for a websocket as no client does.
func (s *side) openBadly(step string, header http.Header) {
	s.Helper()
	client, root := s.web()
	r, err := http.NewRequestWithContext(s.Context(), http.MethodGet, root+"/v3/watch", nil)
	if err != nil {
		s.Fatal(err)
	}
	r.Header = header
	response, err := client.Do(r)
	if err != nil {
		s.Fatalf("%s: %v", s.name, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.Fatal(err)
	}
	s.note("opened "+step, heading(response)+string(text))
}
