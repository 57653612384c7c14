// SPDX-License-Identifier: Apache-2.0

package state

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/cleatd/cleat/auth"
	"github.com/cleatd/cleat/kv"
)

var administrator = Identity{Root: true, Name: "root"}

// staffed has alice, who may read and write a to before b.
func staffed(t testing.TB) *Machine {
	t.Helper()
	m := newMachine(t)
	command(t, m,
		&pb.AuthUserAddRequest{Name: "root", HashedPassword: "IyM="}, &pb.AuthUserGrantRoleRequest{User: "root", Role: "root"},
		&pb.AuthUserAddRequest{Name: "alice", HashedPassword: "IyM="}, &pb.AuthRoleAddRequest{Name: "writer"},
		granted("a", "b"), &pb.AuthUserGrantRoleRequest{User: "alice", Role: "writer"}, &pb.AuthEnableRequest{},
	)
	return m
}

func granted(key, end string) *pb.AuthRoleGrantPermissionRequest {
	return &pb.AuthRoleGrantPermissionRequest{Name: "writer", Perm: &authpb.Permission{
		Key: []byte(key), RangeEnd: []byte(end), PermType: authpb.Permission_READWRITE,
	}}
}

// command applies requests of the administrator, each in an entry of its own.
func command(t testing.TB, m *Machine, requests ...proto.Message) {
	t.Helper()
	for _, r := range requests {
		result := mustApply(t, m, m.AppliedIndex()+1, AuthCommand(administrator, r))[0]
		if _, err := ParseResult(result); err != nil {
			t.Fatalf("%T: %v", r, err)
		}
	}
}

// logIn returns a token's parts as a member reads them.
func logIn(t testing.TB, m *Machine, user string, revision uint64) (auth.Digest, uint64, error) {
	t.Helper()
	_, digest := auth.NewToken()
	reply, err := ParseResult(mustApply(t, m, m.AppliedIndex()+1, AuthenticateCommand(user, revision, digest))[0])
	if err != nil {
		return digest, 0, err
	}
	index, err := LoggedIn(reply)
	return digest, index, err
}

func TestATokenEndsWithWhatItStandsFor(t *testing.T) {
	for name, end := range map[string]proto.Message{
		"the user is deleted":     &pb.AuthUserDeleteRequest{Name: "alice"},
		"another password":        &pb.AuthUserChangePasswordRequest{Name: "alice", HashedPassword: "ISE="},
		"the rules do not count":  &pb.AuthDisableRequest{},
		"nothing of hers changes": &pb.AuthUserDeleteRequest{Name: "bob"},
	} {
		t.Run(name, func(t *testing.T) {
			m := staffed(t)
			command(t, m, &pb.AuthUserAddRequest{Name: "bob"})
			digest, index, err := logIn(t, m, "alice", m.Rules().Revision)
			if err != nil {
				t.Fatal(err)
			}
			if who, ok := m.Tokens().User(digest, index); who != "alice" || !ok {
				t.Fatalf("the token is %q's, %t", who, ok)
			}
			command(t, m, end)
			if _, ok := m.Tokens().User(digest, index); ok != (name == "nothing of hers changes") {
				t.Errorf("the token counts: %t", ok)
			}
		})
	}
}

func TestALoginByOldRulesIsRefused(t *testing.T) {
	m := newMachine(t)
	if _, _, err := logIn(t, m, "alice", 1); !errors.Is(err, auth.ErrNotEnabled) {
		t.Errorf("without rules: %v", err)
	}
	m = staffed(t)
	if _, _, err := logIn(t, m, "alice", m.Rules().Revision-1); !errors.Is(err, auth.ErrOldRevision) {
		t.Errorf("by the rules before: %v", err)
	}
}

func TestRulesComeWithACheckpointAndTokensGo(t *testing.T) {
	from, to := staffed(t), staffed(t)
	digest, index, err := logIn(t, to, "alice", to.Rules().Revision)
	if err != nil {
		t.Fatal(err)
	}
	for range 4 { // further than the other
		command(t, from, granted("w", ""))
	}
	p, err := to.Prepare(bytes.NewReader(checkpointOf(t, from, from.AppliedIndex())))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Install(); err != nil {
		t.Fatal(err)
	}
	if got, want := to.Rules().Revision, from.Rules().Revision; got != want {
		t.Errorf("rules of revision %d, want %d", got, want)
	}
	if a, b := rulesText(t, from), rulesText(t, to); a != b {
		t.Errorf("rules\n%s became\n%s", a, b)
	}
	if _, ok := to.Tokens().User(digest, index); ok {
		t.Error("a token outlived what may have ended it")
	}
}

// A permission is taken back and a secret is put in one batch, over and over,
// while alice reads: she never sees one.
func TestNoReaderSeesKeysByRulesThatWereReplacedBeforeThem(t *testing.T) {
	m := staffed(t)
	const rounds = 200
	done := make(chan struct{})
	var readers sync.WaitGroup
	look := func(read func(Identity) (seen []byte, err error)) {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				seen, err := read(Identity{Name: "alice", Revision: m.Rules().Revision})
				if bytes.Contains(seen, []byte("secret")) {
					t.Error("a secret was seen")
					return
				}
				if err != nil && !errors.Is(err, auth.ErrDenied) && !errors.Is(err, auth.ErrOldRevision) {
					t.Error(err)
					return
				}
			}
		})
	}
	look(func(id Identity) ([]byte, error) {
		r, err := m.Range(id, &pb.RangeRequest{Key: []byte("a")}, nil)
		return appendRange(nil, r), err
	})
	look(func(id Identity) ([]byte, error) {
		r, err := m.Txn(id, &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("a")}}}}}, nil)
		return r.Payload, err
	})
	for i := range rounds {
		mustApply(t, m, m.AppliedIndex()+1,
			AuthCommand(administrator, &pb.AuthRoleRevokePermissionRequest{Role: "writer", Key: []byte("a"), RangeEnd: []byte("b")}),
			put("a", fmt.Sprint("secret ", i)))
		mustApply(t, m, m.AppliedIndex()+1, put("a", "public"), AuthCommand(administrator, granted("a", "b")))
	}
	close(done)
	readers.Wait()
}

// Between a commit and its rules no reader decides.
func TestAReaderWaitsForTheRulesOfWhatIsBeingCommitted(t *testing.T) {
	m := staffed(t)
	alice := Identity{Name: "alice", Revision: m.Rules().Revision}
	next, err := m.Rules().RevokePermission(discard{}, "writer", []byte("a"), []byte("b"))
	if err != nil {
		t.Fatal(err)
	}
	settle := m.unsettle()
	answer := make(chan error, 1)
	go func() {
		_, err := m.Range(alice, &pb.RangeRequest{Key: []byte("a")}, nil)
		answer <- err
	}()
	b := m.Store().NewBatch()
	secret := b.Begin()
	secret.Put([]byte("a"), []byte("secret"), 0)
	secret.End()
	if err := b.Commit(m.AppliedIndex() + 1); err != nil {
		t.Fatal(err)
	}
	b.Close()
	select {
	case err := <-answer:
		t.Errorf("answered with %v before there were rules", err)
	default:
	}
	settle(next)
	if err := <-answer; !errors.Is(err, auth.ErrOldRevision) {
		t.Errorf("answered with %v", err)
	}
}

// discard takes records that nobody reads.
type discard struct{}

func (discard) Set(_, _ []byte) {}
func (discard) Delete([]byte)   {}

// A stream that is under way ends when its reader's right may have.
func TestAStreamEndsWithItsRight(t *testing.T) {
	m := staffed(t)
	var puts [][]byte
	for i := range 100 {
		puts = append(puts, put(fmt.Sprint("a", i), "1"))
	}
	mustApply(t, m, m.AppliedIndex()+1, puts...)
	alice := Identity{Name: "alice", Revision: m.Rules().Revision}
	for _, id := range []Identity{alice, administrator} {
		chunks := 0
		err := m.Stream(id, &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("b")}, nil, func(kv.Result) error {
			if chunks++; chunks == 1 {
				command(t, m, granted("x", ""))
			}
			return nil
		})
		if want := (id == alice); chunks == 0 || errors.Is(err, auth.ErrOldRevision) != want || err != nil && !want {
			t.Errorf("%+v: %v after %d chunks", id, err, chunks)
		}
	}
}

func keysOf(m *Machine, id Identity, lease int64) error {
	_, err := m.LeaseKeys(id, lease)
	return err
}

// counted says how often it was looked through.
type counted struct {
	leaseReader
	scans *int
}

func (c counted) Scan(prefix []byte, fn func(key, value []byte) error) error {
	*c.scans++
	return c.leaseReader.Scan(prefix, fn)
}

func TestATransactionLooksThroughALeaseOnce(t *testing.T) {
	m := staffed(t)
	mustApply(t, m, m.AppliedIndex()+1, LeaseGrantCommand(administrator, &pb.LeaseGrantRequest{ID: 1, TTL: 10}),
		LeaseGrantCommand(administrator, &pb.LeaseGrantRequest{ID: 2, TTL: 10}),
		PutCommand(administrator, &pb.PutRequest{Key: []byte("a"), Lease: 1}), PutCommand(administrator, &pb.PutRequest{Key: []byte("b"), Lease: 2}))
	puts := func(lease int64) (ops []*pb.RequestOp) {
		for range 10 {
			ops = append(ops, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("a"), Lease: lease}}})
		}
		return ops
	}
	nested := func(ops []*pb.RequestOp) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: ops}}}
	}
	scans := 0
	p := permit{
		rules: m.Rules(), caller: auth.Caller{Name: "alice", Revision: m.Rules().Revision},
		leases: m.leases, keys: counted{leaseReader{m.store}, &scans},
	}
	if err := p.txn(&pb.TxnRequest{Success: append(puts(1), nested(puts(1))), Failure: puts(1)}); err != nil || scans != 1 {
		t.Errorf("hers: %d scans, %v", scans, err)
	}
	if err := p.txn(&pb.TxnRequest{Success: append(puts(1), nested(puts(2)))}); !errors.Is(err, auth.ErrDenied) || scans != 3 {
		t.Errorf("another's: %d scans, %v", scans, err)
	}
}

func list(m *Machine, id Identity) error {
	_, err := m.ListLeases(id)
	return err
}

// Another's key comes and goes at alice's lease while she asks for its keys: she
// is told of none but hers.
func TestNobodyIsToldOfAKeyThatWasJustAttached(t *testing.T) {
	m := staffed(t)
	mustApply(t, m, m.AppliedIndex()+1, LeaseGrantCommand(administrator, &pb.LeaseGrantRequest{ID: 1, TTL: 10}),
		PutCommand(administrator, &pb.PutRequest{Key: []byte("a"), Lease: 1}))
	alice := Identity{Name: "alice", Revision: m.Rules().Revision}
	done := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			keys, err := m.LeaseKeys(alice, 1)
			if len(keys) > 1 || err != nil && !errors.Is(err, auth.ErrDenied) {
				t.Errorf("%q, %v", keys, err)
				return
			}
		}
	})
	for range 2000 {
		for _, lease := range []int64{1, 0} {
			mustApply(t, m, m.AppliedIndex()+1, PutCommand(administrator, &pb.PutRequest{Key: []byte("secret"), Lease: lease}))
		}
	}
	close(done)
	asking.Wait()
}

func TestLeasesAreTheirKeysReaders(t *testing.T) {
	m := staffed(t)
	mustApply(t, m, m.AppliedIndex()+1,
		LeaseGrantCommand(administrator, &pb.LeaseGrantRequest{ID: 1, TTL: 10}), LeaseGrantCommand(administrator, &pb.LeaseGrantRequest{ID: 2, TTL: 10}),
		PutCommand(administrator, &pb.PutRequest{Key: []byte("a"), Lease: 1}), PutCommand(administrator, &pb.PutRequest{Key: []byte("b"), Lease: 2}))
	alice := Identity{Name: "alice", Revision: m.Rules().Revision}
	for name, c := range map[string]struct{ got, want error }{
		"renews hers":             {m.MayRenew(alice, 1), nil},
		"renews another's":        {m.MayRenew(alice, 2), auth.ErrDenied},
		"renews one that is gone": {m.MayRenew(alice, 3), nil},
		"renews without a name":   {m.MayRenew(Identity{}, 1), auth.ErrUserEmpty},
		"reads hers":              {keysOf(m, alice, 1), nil},
		"reads another's":         {keysOf(m, alice, 2), auth.ErrDenied},
		"lists":                   {list(m, alice), auth.ErrDenied},
		"the administrator lists": {list(m, administrator), nil},
		"watches hers":            {m.MayWatch(alice, []byte("a"), []byte("b")), nil},
		"watches all":             {m.MayWatch(alice, []byte{0}, []byte{0}), auth.ErrDenied},
	} {
		if !errors.Is(c.got, c.want) {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
}

func TestTheRevisionOfTheRulesTravelsInACommand(t *testing.T) {
	for _, id := range []Identity{{}, {Root: true}, {Name: "alice"}, {Name: "alice", Revision: 300}, {Root: true, Name: "root", Revision: 1}} {
		k, got, body, err := splitCommand(append(appendPrefix(nil, kindPut, id), "body"...))
		if k != kindPut || got != id || string(body) != "body" || err != nil {
			t.Errorf("%+v became %+v with %q, %v", id, got, body, err)
		}
	}
}

func FuzzCommandPrefix(f *testing.F) {
	f.Add(appendPrefix(nil, kindPut, Identity{Name: "alice", Revision: 300}))
	f.Add(put("a", "1"))
	f.Fuzz(func(t *testing.T, c []byte) {
		k, id, body, err := splitCommand(c)
		if err != nil {
			if !errors.Is(err, ErrCommand) {
				t.Errorf("%v is not ErrCommand", err)
			}
			return
		}
		again, same, rest, err := splitCommand(append(appendPrefix(nil, k, id), body...))
		if again != k || same != id || !bytes.Equal(rest, body) || err != nil {
			t.Errorf("%d %+v became %d %+v, %v", k, id, again, same, err)
		}
	})
}
