package strict

import (
	"strings"

	"github.com/agnivade/levenshtein"
)

// Nearest returns the one of known a person most likely meant by word: the
// smallest edit distance, case and the difference between "-" and "_" not
// counted, and small for the length of the word; or else one that contains it
// or is contained in it. ok is false when none is near.
func Nearest(word string, known []string) (near string, ok bool) {
	const longest = 64 // nothing longer is a key, and the distance costs the product
	if len(word) > longest {
		return "", false
	}
	w := fold(word)
	best := 1 + len([]rune(w))/4 // the largest distance still near
	for _, k := range known {
		if d := levenshtein.ComputeDistance(w, fold(k)); d <= best && (!ok || d < best) && d < len(k) {
			near, best, ok = k, d, true
		}
	}
	if ok || len(w) < 3 {
		return near, ok
	}
	for _, k := range known {
		if f := fold(k); strings.Contains(f, w) || len(f) >= 3 && strings.Contains(w, f) {
			return k, true
		}
	}
	return "", false
}

func fold(s string) string { return strings.ReplaceAll(strings.ToLower(s), "_", "-") }
