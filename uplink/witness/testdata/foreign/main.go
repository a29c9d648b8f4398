// Command foreign is both ends of tlog-witness made of somebody else's library,
// for the integration test.
//
//	foreign serve LOG-VKEY       prints its address and its vkeys, Ed25519 and ML-DSA-44, then serves
//	foreign ask URL OLD PROOF... submits the checkpoint on stdin; prints the answer, or "conflict SIZE"
package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"

	fnote "github.com/transparency-dev/formats/note"
	client "github.com/transparency-dev/witness/client/http"
	"github.com/transparency-dev/witness/persistence/inmemory"
	"github.com/transparency-dev/witness/witness"
	"golang.org/x/mod/sumdb/note"
)

func main() {
	if os.Args[1] == "serve" {
		serve(os.Args[2])
	} else {
		ask(os.Args[2], os.Args[3], os.Args[4:])
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

func serve(logKey string) {
	known := must(note.NewVerifier(logKey))
	skey, vkey, err := note.GenerateKey(rand.Reader, "foreign.example/w1")
	if err != nil {
		log.Fatal(err)
	}
	skey2, vkey2, err := fnote.GenerateMLDSAKey("foreign.example/w2")
	if err != nil {
		log.Fatal(err)
	}
	w := must(witness.New(context.Background(), witness.Opts{
		Persistence: inmemory.New(),
		Signers:     []note.Signer{must(fnote.NewSignerForCosignatureV1(skey)), must(fnote.NewMLDSASigner(skey2))},
		VerifierForLog: func(_ context.Context, origin string) (note.Verifier, bool, error) {
			return known, origin == known.Name(), nil
		},
	}))
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	fmt.Printf("http://%s\n%s\n%s\n", l.Addr(), must(fnote.VKeyToCosignatureV1(vkey)), vkey2)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", witness.NewHTTPHandler(w).AddCheckpoint)
	log.Fatal(http.Serve(l, mux))
}

func ask(target, old string, lines []string) {
	var proof [][]byte
	for _, line := range lines {
		proof = append(proof, must(base64.StdEncoding.DecodeString(line)))
	}
	c := client.NewWitness(must(url.Parse(target)), http.DefaultClient)
	answer, size, err := c.Update(context.Background(), must(strconv.ParseUint(old, 10, 64)), must(io.ReadAll(os.Stdin)), proof)
	if errors.Is(err, witness.ErrCheckpointStale) {
		fmt.Printf("conflict %d\n", size)
		return
	}
	os.Stdout.Write(must(answer, err))
}
