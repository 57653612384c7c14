// SPDX-License-Identifier: Apache-2.0

package ctl

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
)

// The forms of etcdctl's -w.
const (
	simpleForm   = "simple"
	fieldsForm   = "fields"
	jsonForm     = "json"
	tableForm    = "table"
	protobufForm = "protobuf"
)

// The forms that kinds of commands offer. What a command with any form did is a
// line, or an object in JSON.
var (
	keyForms      = []string{simpleForm, fieldsForm, jsonForm, protobufForm}
	endpointForms = []string{simpleForm, fieldsForm, jsonForm, tableForm}
	anyForm       []string
)

// answer is one result in every form that its command offers; the others are
// left nil. It is built before it is written: writing starts with nothing left
// to fail but the terminal.
type answer struct {
	simple, fields func(*printer)
	json           any
	message        proto.Message
	table          func() table
}

// printer writes answers to stdout in the form that the user chose. It may be
// used by several goroutines: each answer comes out whole.
type printer struct {
	form      string
	hex       bool
	valueOnly bool
	whole     bool // --json: everything is JSON

	mu  sync.Mutex
	out *bufio.Writer // under mu
}

// newPrinter refuses a form that the command does not offer.
func newPrinter(c *cli.Context, forms []string) (*printer, error) {
	form, err := outputForm(c)
	if err != nil {
		return nil, err
	}
	if forms != nil && !slices.Contains(forms, form) {
		return nil, misuse("-w %s is no form of %s: use one of %s", form, called(c), strings.Join(forms, ", "))
	}
	return &printer{form: form, hex: c.Bool("hex"), whole: c.Bool("json"), out: bufio.NewWriter(c.App.Writer)}, nil
}

// print writes one answer and flushes it.
func (p *printer) print(a answer) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch p.form {
	case simpleForm:
		a.simple(p)
	case fieldsForm:
		a.fields(p)
	case tableForm:
		a.table().write(p.out)
	case jsonForm:
		text, err := json.Marshal(a.json)
		if err != nil {
			return fmt.Errorf("write as JSON: %w", err)
		}
		p.linef("%s", text)
	case protobufForm:
		raw, err := proto.Marshal(a.message)
		if err != nil {
			return fmt.Errorf("write as protobuf: %w", err)
		}
		_, _ = p.out.Write(raw)
	}
	if err := p.out.Flush(); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// say writes one line that belongs to no answer.
func (p *printer) say(format string, args ...any) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.linef(format, args...)
	return p.out.Flush()
}

// outcome tells what a command did that has nothing else to show: done as JSON,
// and a text in every other form.
func (p *printer) outcome(done any, format string, args ...any) error {
	if p.form == jsonForm {
		return p.print(answer{json: done})
	}
	return p.say(format, args...)
}

// line is outcome for what etcdctl tells as a line in every form: only --json has
// it otherwise.
func (p *printer) line(done any, format string, args ...any) error {
	if p.whole {
		return p.outcome(done, format, args...)
	}
	return p.say(format, args...)
}

// linef writes into the buffer, whose Flush tells of any failure.
func (p *printer) linef(format string, args ...any) {
	fmt.Fprintf(p.out, format+"\n", args...)
}

// pair is a record in the simple form: the key's line, the value's line.
func (p *printer) pair(record *mvccpb.KeyValue) {
	if !p.valueOnly {
		p.linef("%s", p.bytes(record.GetKey()))
	}
	p.linef("%s", p.bytes(record.GetValue()))
}

// bytes shows b as it is, or as \x66\x6f\x6f.
func (p *printer) bytes(b []byte) string {
	if !p.hex {
		return string(b)
	}
	var text strings.Builder
	for _, each := range b {
		text.WriteString(`\x` + hex.EncodeToString([]byte{each}))
	}
	return text.String()
}

// header is the response header in the fields form.
func (p *printer) header(h *pb.ResponseHeader) {
	ids := "%d"
	if p.hex {
		ids = "%x"
	}
	p.linef(`"ClusterID" : `+ids, h.GetClusterId())
	p.linef(`"MemberID" : `+ids, h.GetMemberId())
	if h.GetRevision() > 0 {
		p.linef(`"Revision" : %d`, h.GetRevision())
	}
	p.linef(`"RaftTerm" : %d`, h.GetRaftTerm())
}

// record is a record in the fields form; prefix is "Prev" for an earlier one.
func (p *printer) record(prefix string, r *mvccpb.KeyValue) {
	p.linef(`"%sKey" : %q`, prefix, r.GetKey())
	p.linef(`"%sCreateRevision" : %d`, prefix, r.GetCreateRevision())
	p.linef(`"%sModRevision" : %d`, prefix, r.GetModRevision())
	p.linef(`"%sVersion" : %d`, prefix, r.GetVersion())
	p.linef(`"%sValue" : %q`, prefix, r.GetValue())
	p.linef(`"%sLease" : %s`, prefix, p.lease(r.GetLease()))
}

// lease shows a lease's id as the fields form does.
func (p *printer) lease(id int64) string {
	if p.hex {
		return fmt.Sprintf("%016x", uint64(id))
	}
	return fmt.Sprint(id)
}
