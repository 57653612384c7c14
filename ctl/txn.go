// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func txnCommand() *cli.Command {
	return &cli.Command{
		Name:  "txn",
		Usage: "do several things at once, if conditions hold",
		Description: `Reads three lists from standard input, each ended by an empty line: conditions,
what to do if all hold, what to do if one does not. A condition is
mod("KEY"), create, version, value or lease, then = != < or >, then a value
in quotation marks; the rest are lines of put, get and del as on the command
line.

Example:
  cleatctl txn <<END
  mod("key1") > "0"

  put key1 "overwrote-key1"

  put key1 "created-key1"
  put key2 "some extra key"
  END`,
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "interactive", Aliases: []string{"i"}, Usage: "tell what to type"}},
		Action: txn,
	}
}

func txn(c *cli.Context) error {
	if c.NArg() > 0 {
		return misuse("txn takes no argument: it reads the transaction from standard input")
	}
	script := &txnScript{c: c, input: bufio.NewReader(c.App.Reader)}
	conditions := readList(script, "compares:", readCondition)
	then := readList(script, "success requests (get, put, del):", script.operation)
	otherwise := readList(script, "failure requests (get, put, del):", script.operation)
	if script.err != nil {
		return script.err
	}
	return short(c, keyForms, func(ctx context.Context, s *session) error {
		reply, err := s.Txn(ctx).If(conditions...).Then(then...).Else(otherwise...).Commit()
		if err != nil {
			return err
		}
		return s.out.print(txnAnswer((*pb.TxnResponse)(reply)))
	})
}

// txnScript reads the lists of a transaction. Its first error stays and ends
// the reading.
type txnScript struct {
	c     *cli.Context
	input *bufio.Reader
	err   error
}

// readList reads lines up to an empty one or the end of the input.
func readList[T any](s *txnScript, prompt string, read func(line string) (T, error)) []T {
	if s.err == nil && s.c.Bool("interactive") {
		fmt.Fprintln(s.c.App.Writer, prompt)
	}
	var list []T
	for s.err == nil {
		line, err := s.input.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			s.err = err
			break
		}
		if line = strings.TrimSpace(line); line == "" {
			break
		}
		item, err := read(line)
		list, s.err = append(list, item), err
	}
	return list
}

// operation reads one line of put, get or del.
func (s *txnScript) operation(line string) (clientv3.Op, error) {
	tokens, err := words(line)
	if err != nil {
		return clientv3.Op{}, err
	}
	command := map[string]func() *cli.Command{"put": putCommand, "get": getCommand, "del": delCommand}[tokens[0]]
	if command == nil {
		return clientv3.Op{}, misuse("%q is no request: a line is put, get or del", line)
	}
	parsed, err := parseLine(s.c, command(), tokens[1:])
	if err != nil {
		return clientv3.Op{}, err
	}
	switch tokens[0] {
	case "put":
		return putOp(parsed, nil)
	case "get":
		return getOp(parsed)
	}
	return delOp(parsed)
}

func txnAnswer(r *pb.TxnResponse) answer {
	return answer{
		json:    txnJSON(r),
		message: r,
		simple: func(p *printer) {
			verdict := "FAILURE"
			if r.GetSucceeded() {
				verdict = "SUCCESS"
			}
			p.linef("%s", verdict)
			for _, each := range r.GetResponses() {
				p.linef("")
				opAnswer(each).simple(p)
			}
		},
		fields: func(p *printer) {
			p.header(r.GetHeader())
			p.linef(`"Succeeded" : %t`, r.GetSucceeded())
			for _, each := range r.GetResponses() {
				opAnswer(each).fields(p)
			}
		},
	}
}

// opAnswer is the answer to one request of a transaction. A transaction typed
// here has no other inside.
func opAnswer(r *pb.ResponseOp) answer {
	switch {
	case r.GetResponsePut() != nil:
		return putAnswer(r.GetResponsePut())
	case r.GetResponseDeleteRange() != nil:
		return delAnswer(r.GetResponseDeleteRange())
	}
	return getAnswer(r.GetResponseRange())
}

// txnJSON names each response by its kind, as etcdctl's JSON does; Go's own
// form of the message has no names for them.
func txnJSON(r *pb.TxnResponse) any {
	type response struct {
		Response map[string]any
	}
	out := struct {
		Header    *pb.ResponseHeader `json:"header,omitempty"`
		Succeeded bool               `json:"succeeded,omitempty"`
		Responses []response         `json:"responses,omitempty"`
	}{Header: r.GetHeader(), Succeeded: r.GetSucceeded()}
	for _, each := range r.GetResponses() {
		kind := "response_range"
		switch {
		case each.GetResponsePut() != nil:
			kind = "response_put"
		case each.GetResponseDeleteRange() != nil:
			kind = "response_delete_range"
		}
		out.Responses = append(out.Responses, response{map[string]any{kind: opAnswer(each).json}})
	}
	return out
}
