//go:build !unix

package desk

// handOver does nothing where root is nobody in particular.
func handOver(name, dir string) error { return nil }
