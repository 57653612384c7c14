// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/gorilla/websocket"
)

// A request of the gateway may come over a websocket, which is how a page in a
// browser watches: it cannot send a body while it reads the answer. As at etcd,
// each message from the client is a part of the request's body, each line of
// the answer is a message, and the method is POST whatever opened the
// websocket.
//
//	client ──messages──► listen ──pipe──► mux ──lines──► frames ──messages──► client
//
// listen runs beside the request and ends with the connection, which the
// request's end closes; a client that leaves ends the request.

// upgrader opens websockets. It refuses a page of another site by its Origin:
// browsers ask nobody before they open a websocket, and show the user's
// certificate. A page cannot send headers either; where it offers "Bearer, TOKEN"
// it is told that it was understood, and that is its token.
var upgrader = websocket.Upgrader{Subprotocols: []string{"Bearer"}}

// converse answers one request over a websocket. Of the headers nothing but the
// token is passed on.
func (g *gateway) converse(w http.ResponseWriter, r *http.Request) {
	if !g.beginTalk() {
		http.Error(w, errStopping.Error(), http.StatusServiceUnavailable)
		return
	}
	defer g.talks.Done()
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // the client was told
	}
	defer context.AfterFunc(g.base, func() { _ = conn.Close() })() // nothing is lost with it
	conn.SetReadLimit(g.most())
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	body, messages := io.Pipe()
	var listening sync.WaitGroup
	listening.Go(func() {
		defer cancel()
		listen(conn, messages)
	})
	asked := r.Clone(ctx)
	header := http.Header{}
	if token := bearer(r.Header.Get("Sec-WebSocket-Protocol")); token != "" {
		header.Set("Authorization", token)
	} else if token := r.Header.Get("Authorization"); token != "" {
		header.Set("Authorization", token)
	}
	asked.Method, asked.Header, asked.Body, asked.ContentLength = http.MethodPost, header, body, -1
	told := &frames{conn: conn, header: http.Header{}}
	g.answer(told, asked)
	_ = told.send()  // the client may have left
	_ = conn.Close() // etcd says no farewell either
	_ = body.Close() // frees listen, if it has more than was asked for
	listening.Wait()
}

// bearer reads "Bearer, TOKEN" as it would stand in a header of its own.
func bearer(offered string) string {
	_, token, is := strings.Cut(offered, "Bearer,")
	if !is {
		return ""
	}
	return "Bearer " + strings.Trim(token, " ")
}

// beginTalk is false when close has begun; otherwise close waits for
// talks.Done.
func (g *gateway) beginTalk() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.talks.Add(1)
	return true
}

// listen writes what the client sends into the request's body, a message a
// line, until the connection or the request ends.
func listen(conn *websocket.Conn, body *io.PipeWriter) {
	defer body.Close()
	for {
		_, message, err := conn.NextReader()
		if err != nil {
			return // the client has left, or broke the protocol
		}
		if _, err := io.Copy(body, message); err != nil {
			return
		}
		if _, err := io.WriteString(body, "\n"); err != nil {
			return
		}
	}
}

// frames is the ResponseWriter of a websocket: each line becomes a message.
type frames struct {
	conn   *websocket.Conn
	header http.Header // which a websocket has no place for
	line   []byte      // as much of the next message as has been written
}

func (f *frames) Header() http.Header { return f.header }
func (f *frames) WriteHeader(int)     {}

// Flush does nothing: a line goes out when it ends. The gateway's streams
// insist on it.
func (f *frames) Flush() {}

func (f *frames) Write(text []byte) (int, error) {
	for rest := text; ; {
		line, after, whole := bytes.Cut(rest, []byte("\n"))
		f.line = append(f.line, line...)
		if !whole {
			return len(text), nil
		}
		if err := f.send(); err != nil {
			return 0, err
		}
		rest = after
	}
}

// send sends the line that was written; an empty one is no message.
func (f *frames) send() error {
	line := f.line
	f.line = nil
	if len(line) == 0 {
		return nil
	}
	return f.conn.WriteMessage(websocket.TextMessage, line)
}
