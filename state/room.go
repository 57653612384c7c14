// SPDX-License-Identifier: Apache-2.0

package state

import pb "go.etcd.io/etcd/api/v3/etcdserverpb"

// What a write takes is reckoned as etcd does it: a little for each key beside
// the key and its value, whether it replaces another or not.
const (
	keyRoom = 256

	// LeaseRoom is what a lease takes.
	LeaseRoom = 64
)

// PutRoom returns how many bytes a put takes at most.
func PutRoom(r *pb.PutRequest) int { return keyRoom + len(r.GetKey()) + len(r.GetValue()) }

// TxnRoom returns how many bytes a transaction takes on its larger branch, with
// those nested in it. One that stores nothing takes none.
func TxnRoom(r *pb.TxnRequest) int {
	return max(branchRoom(r.GetSuccess()), branchRoom(r.GetFailure()))
}

func branchRoom(ops []*pb.RequestOp) int {
	room := 0
	for _, op := range ops {
		if put := op.GetRequestPut(); put != nil {
			room += PutRoom(put)
		}
		if nested := op.GetRequestTxn(); nested != nil {
			room += TxnRoom(nested)
		}
	}
	return room
}
