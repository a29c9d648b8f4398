package checkpoint

import (
	"github.com/emmansun/gmsm/sm3"
	"github.com/transparency-dev/merkle"
	"github.com/transparency-dev/merkle/rfc6962"
)

// SHA256 is the hash of RFC 6962 trees.
func SHA256() merkle.LogHasher { return rfc6962.DefaultHasher }

// SM3 hashes the same trees with SM3 (GB/T 32905).
func SM3() merkle.LogHasher { return sm3Tree{} }

// sm3Tree separates leaves from nodes like RFC 6962 section 2.1.
type sm3Tree struct{}

func (sm3Tree) Size() int { return sm3.Size }

func (sm3Tree) EmptyRoot() []byte {
	h := sm3.Sum(nil)
	return h[:]
}

func (sm3Tree) HashLeaf(leaf []byte) []byte {
	h := sm3.New()
	h.Write([]byte{rfc6962.RFC6962LeafHashPrefix})
	h.Write(leaf)
	return h.Sum(nil)
}

func (sm3Tree) HashChildren(l, r []byte) []byte {
	h := sm3.New()
	h.Write([]byte{rfc6962.RFC6962NodeHashPrefix})
	h.Write(l)
	h.Write(r)
	return h.Sum(nil)
}
