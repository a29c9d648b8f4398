package lender

// syncDir: NTFS journals names by itself and has no call to flush a folder.
func syncDir(string) error { return nil }
