package aggregate

import "encoding/json"

// MarshalJSON writes the state behind the leaves taken so far.
func (s *Sums) MarshalJSON() ([]byte, error) { return json.Marshal(s.spans) }

// UnmarshalJSON takes up a state; Follow must come next.
func (s *Sums) UnmarshalJSON(b []byte) error {
	var spans []span
	if err := json.Unmarshal(b, &spans); err != nil {
		return err
	}
	s.Forget()
	for i := range spans {
		s.spans = append(s.spans, &spans[i])
	}
	return nil
}

// Forget goes back to the state without a leaf; Follow must come next.
func (s *Sums) Forget() { s.spans = nil }
