// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"context"
	"fmt"
	"log"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/cleatd/cleat/client"
)

// A program goes as its user has logged in with cleatctl, and renews the
// certificate itself while it runs.
func ExampleLoad() {
	bundle, err := client.Load("prod")
	if err != nil {
		log.Fatal(err)
	}
	etcd, err := clientv3.New(clientv3.Config{Endpoints: bundle.Endpoints(), TLS: bundle.TLS()})
	if err != nil {
		log.Fatal(err)
	}
	defer etcd.Close()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go bundle.Keep(ctx, func(_ *client.Bundle, err error) {
		if err != nil {
			log.Print(err) // it will be tried again
		}
	})

	reply, err := etcd.Get(ctx, "foo")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(reply.Count)
}
