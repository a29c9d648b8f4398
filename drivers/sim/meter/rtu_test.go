package meter

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func TestCRC(t *testing.T) {
	// Modbus over Serial Line V1.02, appendix B: 02 07 -> 41 12 on the wire.
	if got := appendRTU(nil, 2, []byte{7}); !bytes.Equal(got, unhex("02 07 41 12")) {
		t.Errorf("% X", got)
	}
}

// Whatever stands before a request, the request is found; and every answer of
// the scanner stays within its input.
func TestScanFindsRequestsInNoise(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	request := appendRTU(nil, 3, unhex("04 0010 0004"))
	for range 2000 {
		noise := make([]byte, rng.IntN(40))
		for i := range noise {
			noise[i] = byte(rng.Uint32())
		}
		b := append(noise, request...)
		for len(b) > 0 {
			skip, size := scanRequest(b)
			if size == 0 {
				t.Fatalf("not found after noise % X", noise)
			}
			if bytes.Equal(b[skip:skip+size], request) {
				break
			}
			b = b[skip+size:] // a checksum good by chance
		}
	}
}

func FuzzScanRequest(f *testing.F) {
	f.Add(appendRTU(nil, 3, unhex("03 0000 0001")))
	f.Add(appendRTU(unhex("FF 00"), 3, unhex("10 0000 0001 02 0000")))
	f.Add(unhex("01 10 00 00 00 7B F6"))
	f.Fuzz(func(t *testing.T, b []byte) {
		skip, size := scanRequest(b)
		if skip < 0 || size < 0 || skip+size > len(b) {
			t.Fatalf("skip %d, size %d of %d bytes", skip, size, len(b))
		}
		if size > 0 && crc16(b[skip:skip+size]) != 0 { // a frame with its checksum leaves 0
			t.Fatalf("found % X", b[skip:skip+size])
		}
		if size == 0 && len(b)-skip > maxRTU+8 {
			t.Fatalf("waits with %d bytes", len(b)-skip)
		}
	})
}
