package suite

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/emmansun/gmsm/sm2"
)

// What a standard printed: nobody here made these.
var known = []struct {
	name               string
	suite              uint64
	private, pub       string
	message            string
	signature, hashABC string
}{
	{
		"Ed25519, RFC 8032 section 7.1 TEST 2", Ed25519,
		"", "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
		"\x72",
		"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
		"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", // FIPS 180-4
	},
	{
		"ES256, RFC 6979 appendix A.2.5", ES256,
		"c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721",
		"60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb67903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
		"sample",
		"efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
		"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
	},
	{
		"SM2, GM/T 0003.5-2012 appendix A", SM2,
		"3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8",
		"09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13",
		"message digest",
		"f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa",
		"66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0", // GB/T 32905-2016 appendix A.1
	},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestKnownAnswers(t *testing.T) {
	for _, k := range known {
		t.Run(k.name, func(t *testing.T) {
			pub, sig := unhex(t, k.pub), unhex(t, k.signature)
			if !Verify(k.suite, pub, []byte(k.message), sig) {
				t.Fatal("the standard's own signature is refused")
			}
			if err := CheckPublic(k.suite, pub); err != nil {
				t.Fatal(err)
			}
			sum, ok := Sum(k.suite, []byte("abc"))
			if !ok || hex.EncodeToString(sum[:]) != k.hashABC {
				t.Fatalf("hash of abc %x, the standard has %s", sum, k.hashABC)
			}
			// The standard's private key belongs to its public one here too.
			switch k.suite {
			case ES256:
				key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), unhex(t, k.private))
				if err != nil {
					t.Fatal(err)
				}
				if _, got, _ := Public(key); !bytes.Equal(got, pub) {
					t.Fatalf("public half %x, the standard has %x", got, pub)
				}
			case SM2:
				key, err := sm2.NewPrivateKey(unhex(t, k.private))
				if err != nil {
					t.Fatal(err)
				}
				if _, got, _ := Public(key); !bytes.Equal(got, pub) {
					t.Fatalf("public half %x, the standard has %x", got, pub)
				}
			}
		})
	}
}

func TestSignThenVerify(t *testing.T) {
	for _, s := range []uint64{Ed25519, ES256, SM2} {
		key, err := Generate(s)
		if err != nil {
			t.Fatal(err)
		}
		got, pub, err := Public(key)
		if err != nil || got != s {
			t.Fatalf("suite %d: Public says %d, %v", s, got, err)
		}
		for n := range 200 { // enough for r or s to begin with a zero byte
			message := bytes.Repeat([]byte{byte(n)}, n)
			sig, err := Sign(key, message)
			if err != nil || len(sig) != sigSize || !Verify(s, pub, message, sig) {
				t.Fatalf("suite %d, message of %d bytes: signature %x refused (%v)", s, n, sig, err)
			}
			for other := range uint64(5) {
				if other != s && Verify(other, pub, message, sig) {
					t.Fatalf("a signature of suite %d passes as one of suite %d", s, other)
				}
			}
		}
	}
}

// Every form that is not the one form is refused, and none panics.
func TestRefused(t *testing.T) {
	message := []byte("window")
	for _, s := range []uint64{Ed25519, ES256, SM2} {
		key, err := Generate(s)
		if err != nil {
			t.Fatal(err)
		}
		_, pub, err := Public(key)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := Sign(key, message)
		if err != nil {
			t.Fatal(err)
		}
		for bit := range 8 * sigSize {
			bad := bytes.Clone(sig)
			bad[bit/8] ^= 1 << (bit % 8)
			if Verify(s, pub, message, bad) {
				t.Errorf("suite %d: signature with bit %d turned is accepted", s, bit)
			}
		}
		for bit := range 8 * len(pub) {
			bad := bytes.Clone(pub)
			bad[bit/8] ^= 1 << (bit % 8)
			if Verify(s, bad, message, sig) {
				t.Errorf("suite %d: accepted under a key with bit %d turned", s, bit)
			}
		}
		for n := range 2*sigSize + 1 {
			if bad := append(bytes.Clone(sig), make([]byte, sigSize)...)[:n]; n != sigSize && Verify(s, pub, message, bad) {
				t.Errorf("suite %d: a signature of %d bytes is accepted", s, n)
			}
			bad := append(bytes.Clone(pub), make([]byte, 2*sigSize)...)[:n]
			if n != len(pub) && (Verify(s, bad, message, sig) || CheckPublic(s, bad) == nil) {
				t.Errorf("suite %d: a key of %d bytes is accepted", s, n)
			}
		}
		if longer := slices.Insert(bytes.Clone(sig), scalar, 0); Verify(s, pub, message, longer) {
			t.Errorf("suite %d: a second half of 33 bytes, the same number, is accepted", s)
		}
		if Verify(s, pub, append(message, 0), sig) {
			t.Errorf("suite %d: another message is accepted", s)
		}
		if s != Ed25519 {
			for name, bad := range map[string][]byte{"infinity": make([]byte, 64), "not on the curve": bytes.Repeat([]byte{7}, 64), "not reduced": bytes.Repeat([]byte{0xff}, 64)} {
				if CheckPublic(s, bad) == nil || Verify(s, bad, message, sig) {
					t.Errorf("suite %d: a key that is %s is accepted", s, name)
				}
			}
		}
	}
	for _, s := range []uint64{0, 4, 1 << 63} {
		_, ok := Sum(s, nil)
		if _, err := Generate(s); err == nil || ok || CheckPublic(s, make([]byte, 64)) == nil {
			t.Errorf("suite %d does not exist and is accepted", s)
		}
	}
	if p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
		t.Fatal(err)
	} else if _, _, err := Public(p384); err == nil || !strings.Contains(err.Error(), "P-384, expected P-256") {
		t.Errorf("a P-384 key: %v", err)
	}
}

// The range of r and s is checked here and not left to the libraries: 0 and n
// are out, 1 and n-1 are in.
func TestRange(t *testing.T) {
	for _, n := range []*big.Int{elliptic.P256().Params().N, sm2.P256().Params().N} {
		one := big.NewInt(1)
		last := new(big.Int).Sub(n, one)
		for _, c := range []struct {
			r, s *big.Int
			want bool
		}{
			{one, one, true}, {last, last, true}, {one, last, true},
			{new(big.Int), one, false}, {one, new(big.Int), false}, {n, one, false}, {one, n, false},
			{new(big.Int).Add(n, one), one, false}, {one, new(big.Int).Add(n, one), false},
		} {
			if r, s, ok := split(Join(c.r, c.s), n); ok != c.want || (ok && (r.Cmp(c.r) != 0 || s.Cmp(c.s) != 0)) {
				t.Errorf("r %x, s %x under n %x: in range %v, want %v", c.r, c.s, n, ok, c.want)
			}
		}
	}
}

func FuzzVerify(f *testing.F) {
	for _, k := range known {
		f.Add(k.suite, unhex(f, k.pub), []byte(k.message), unhex(f, k.signature))
	}
	f.Fuzz(func(t *testing.T, s uint64, pub, message, sig []byte) {
		if Verify(s, pub, message, sig) && (len(sig) != sigSize || CheckPublic(s, pub) != nil) {
			t.Fatalf("suite %d accepts signature %x under key %x", s, sig, pub)
		}
	})
}

func Benchmark(b *testing.B) {
	message := make([]byte, 400) // a window's leaf
	for s, name := range map[uint64]string{Ed25519: "Ed25519", ES256: "ES256", SM2: "SM2"} {
		key, err := Generate(s)
		if err != nil {
			b.Fatal(err)
		}
		_, pub, err := Public(key)
		if err != nil {
			b.Fatal(err)
		}
		sig, err := Sign(key, message)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name+"/sign", func(b *testing.B) {
			for b.Loop() {
				if _, err := Sign(key, message); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/verify", func(b *testing.B) {
			for b.Loop() {
				if !Verify(s, pub, message, sig) {
					b.Fatal("refused")
				}
			}
		})
	}
}
