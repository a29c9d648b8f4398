package evidence_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

func requests(t testing.TB) (challenge, replay []byte) {
	t.Helper()
	key := evidencetest.Signer(9)
	challenge, err := evidence.SignChallenge(key, evidence.Challenge{Log: evidence.LogID{1}, Nonce: [16]byte{2}, Issued: 3,
		Reads: []evidence.RegisterRead{{Meter: "press-1", Table: evidence.HoldingRegisters, Address: 16, Count: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	replay, err = evidence.SignReplay(key, evidence.Replay{Log: evidence.LogID{1}, Issued: 3, Lo: 4, Hi: 9, Channels: []evidence.Channel{1, 3}})
	if err != nil {
		t.Fatal(err)
	}
	return challenge, replay
}

func TestRequestsComeBack(t *testing.T) {
	challenge, replay := requests(t)
	pub := evidencetest.PublicKey(9)
	m, err := evidence.OpenMessage(pub, challenge)
	if err != nil || m.Challenge == nil || m.Challenge.Reads[0].Address != 16 || m.Challenge.Nonce != [16]byte{2} {
		t.Fatalf("%+v, %v", m, err)
	}
	m, err = evidence.OpenMessage(pub, replay)
	if err != nil || m.Replay == nil || !reflect.DeepEqual(m.Replay.Channels, []evidence.Channel{1, 3}) || m.Replay.Hi != 9 {
		t.Fatalf("%+v, %v", m, err)
	}
	receipt, err := evidence.SignReceipt(evidencetest.Signer(9), evidence.Receipt{Log: evidence.LogID{1}, N: 5, Status: "ok", Nonce: make([]byte, 16)})
	if err != nil {
		t.Fatal(err)
	}
	if m, err = evidence.OpenMessage(pub, receipt); err != nil || m.Receipt == nil || m.Receipt.N != 5 {
		t.Fatalf("%+v, %v", m, err)
	}
	for name, b := range map[string][]byte{"challenge": challenge, "replay": replay, "receipt": receipt} {
		if _, err := evidence.OpenMessage(evidencetest.PublicKey(8), b); !errors.Is(err, evidence.ErrSignature) {
			t.Errorf("%s under another key: %v", name, err)
		}
	}
}

func TestRequestsRefuse(t *testing.T) {
	key := evidencetest.Signer(9)
	read := evidence.RegisterRead{Meter: "m", Table: evidence.HoldingRegisters, Count: 1}
	for name, edit := range map[string]func(*evidence.RegisterRead){
		"a write function": func(r *evidence.RegisterRead) { r.Table = 6 },
		"too many":         func(r *evidence.RegisterRead) { r.Count = 126 },
		"none":             func(r *evidence.RegisterRead) { r.Count = 0 },
		"beyond the end":   func(r *evidence.RegisterRead) { r.Address = 65535; r.Count = 2 },
		"no meter":         func(r *evidence.RegisterRead) { r.Meter = "" },
	} {
		r := read
		edit(&r)
		if _, err := evidence.SignChallenge(key, evidence.Challenge{Reads: []evidence.RegisterRead{r}}); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
	if _, err := evidence.SignReplay(key, evidence.Replay{Lo: 2, Hi: 1}); err == nil {
		t.Error("a range that runs backwards was signed")
	}
}

func FuzzOpenMessage(f *testing.F) {
	challenge, replay := requests(f)
	f.Add(challenge[9 : len(challenge)-66])
	f.Add(replay[9 : len(replay)-66])
	key, pub := evidencetest.Signer(9), evidencetest.PublicKey(9)
	f.Fuzz(func(t *testing.T, payload []byte) {
		signed, err := evidence.Sign1(key, payload)
		if err != nil {
			t.Fatal(err)
		}
		m, err := evidence.OpenMessage(pub, signed)
		if err != nil {
			if !known(err) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			return
		}
		var again []byte
		switch {
		case m.Challenge != nil:
			again, err = evidence.SignChallenge(key, *m.Challenge)
		case m.Replay != nil:
			again, err = evidence.SignReplay(key, *m.Replay)
		default:
			again, err = evidence.SignReceipt(key, *m.Receipt)
		}
		if err != nil || !bytes.Equal(again, signed) {
			t.Fatalf("re-encodes differently (%v)", err)
		}
	})
}

func TestUnverifiedReceipt(t *testing.T) {
	b, err := evidence.SignReceipt(evidencetest.Signer(9), evidence.Receipt{N: 7, Root: evidence.Hash{1}, ReceivedAt: 5, Status: "ok"})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := evidence.UnverifiedReceipt(b); err != nil || r.N != 7 || r.ReceivedAt != 5 {
		t.Errorf("%+v, %v", r, err)
	}
	c, err := evidence.SignReplay(evidencetest.Signer(9), evidence.Replay{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := evidence.UnverifiedReceipt(c); err == nil {
		t.Errorf("a request passes for a receipt: %+v", r)
	}
}
