package mqtt

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/buffer/vfs/private"
)

// Files are the PEM files of a TLS connection. CA empty means the system's
// certificate authorities; Cert and Key come together or not at all.
type Files struct {
	CA, Cert, Key string
	ServerName    string // name in the broker's certificate when it is not the host of its URL
}

// Problem is what is wrong with a TLS file, in one word that stays the same.
type Problem string

const (
	FileMissing         Problem = "missing"
	FileUnreadable      Problem = "unreadable"
	FileEmpty           Problem = "empty"
	NotPEM              Problem = "not-pem"
	IsDER               Problem = "der"
	Swapped             Problem = "swapped"
	Damaged             Problem = "damaged"
	NotCA               Problem = "not-a-ca"
	Expired             Problem = "expired"
	NotYetValid         Problem = "not-yet-valid"
	WrongUsage          Problem = "wrong-usage"
	ChainOrder          Problem = "chain-order"
	KeyMismatch         Problem = "key-mismatch"
	KeyEncrypted        Problem = "key-encrypted"
	KeyReadableByOthers Problem = "key-readable-by-others"
	Incomplete          Problem = "incomplete" // a certificate without a key, or a key without a certificate
)

// FileError is one fault of one TLS file: where, what was found and what was
// expected, and how to mend it.
type FileError struct {
	Slot    string // "tls.ca", "tls.cert" or "tls.key"
	File    string
	Problem Problem
	Text    string
	Fix     string
}

func (e *FileError) Error() string { return fmt.Sprintf("%s %s: %s", e.Slot, e.File, e.Text) }

// Hint is what to do about it, one sentence.
func (e *FileError) Hint() string { return e.Fix }

// LoadTLS reads and checks the files of a TLS connection before anything is
// sent. now is the clock certificates are held against. Every error is a
// *FileError, the first one found. Call it again for each connection, so that
// renewed files and a corrected clock take effect without a restart.
//
// There is no way to leave the broker's certificate unchecked.
func LoadTLS(f Files, now time.Time) (*tls.Config, error) {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: f.ServerName,
		Time:       func() time.Time { return now },
	}
	if f.CA != "" {
		pool, err := loadCA(f.CA, now)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = pool
	}
	switch {
	case f.Cert == "" && f.Key == "":
		return cfg, nil
	case f.Key == "":
		return nil, &FileError{"tls.cert", f.Cert, Incomplete, "a certificate without a key", "name the certificate's private key in tls.key"}
	case f.Cert == "":
		return nil, &FileError{"tls.key", f.Key, Incomplete, "a key without a certificate", "name the key's certificate in tls.cert"}
	}
	chain, err := loadChain(f.Cert, now)
	if err != nil {
		return nil, err
	}
	key, err := loadKey(f.Key)
	if err != nil {
		return nil, err
	}
	if err := matchKey(f, chain, key); err != nil {
		return nil, err
	}
	pair := tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range chain {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	cfg.Certificates = []tls.Certificate{pair}
	return cfg, nil
}

// slot is one of the three places a file can be named in.
type slot struct{ name, file string }

func (s slot) fault(p Problem, fix, format string, a ...any) error {
	return &FileError{s.name, s.file, p, fmt.Sprintf(format, a...), fix}
}

// read returns the file's PEM blocks, at least one.
func (s slot) read() ([]*pem.Block, error) {
	data, err := readPEM(s.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, s.fault(FileMissing, "check the path; a relative path starts at the folder of the configuration file", "no such file")
	case errors.Is(err, fs.ErrPermission):
		return nil, s.fault(FileUnreadable, "give the service's user the right to read it: chown or chgrp "+s.file, "permission denied")
	case err != nil:
		return nil, s.fault(FileUnreadable, "the path must name a readable file", "cannot be read: %v", pathless(err))
	case len(bytes.TrimSpace(data)) == 0:
		return nil, s.fault(FileEmpty, "put the PEM text back into it", "the file is empty")
	}
	var blocks []*pem.Block
	for rest := data; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		blocks = append(blocks, b)
	}
	if len(blocks) > 0 {
		return blocks, nil
	}
	if _, err := x509.ParseCertificate(data); err == nil {
		return nil, s.fault(IsDER, "convert it: openssl x509 -inform der -in "+s.file+" -out "+s.file+".pem", "a certificate in DER form, expected PEM")
	}
	if _, err := parseKey(data); err == nil {
		return nil, s.fault(IsDER, "convert it: openssl pkey -inform der -in "+s.file+" -out "+s.file+".pem", "a private key in DER form, expected PEM")
	}
	return nil, s.fault(NotPEM, "the file must hold lines from -----BEGIN to -----END", "not a PEM file")
}

// maxFile is the largest PEM file read, in bytes; bundles of all public
// certificate authorities have a fifth of it.
const maxFile = 1 << 20

// readPEM is os.ReadFile that neither waits for a pipe nor reads a device
// without end.
func readPEM(file string) ([]byte, error) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() && !info.IsDir():
		return nil, errors.New("is a device or a pipe, expected a PEM file")
	case info.Size() > maxFile:
		return nil, fmt.Errorf("has %d bytes, expected at most %d", info.Size(), maxFile)
	}
	return os.ReadFile(file)
}

// certificates reads a file that must hold certificates and no key.
func (s slot) certificates() ([]*x509.Certificate, error) {
	blocks, err := s.read()
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	key := false
	for _, b := range blocks {
		if b.Type != "CERTIFICATE" {
			key = key || strings.HasSuffix(b.Type, "PRIVATE KEY")
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, s.fault(Damaged, "copy the certificate again from where it was issued", "certificate %d cannot be read: %v", len(certs)+1, err)
		}
		certs = append(certs, c)
	}
	switch {
	case len(certs) == 0 && key:
		return nil, s.fault(Swapped, "tls.cert and tls.key may be the wrong way round", "a private key, expected a certificate")
	case len(certs) == 0:
		return nil, s.fault(Swapped, "name a file with -----BEGIN CERTIFICATE-----", "found %s, expected CERTIFICATE", blocks[0].Type)
	}
	return certs, nil
}

func loadCA(file string, now time.Time) (*x509.CertPool, error) {
	s := slot{"tls.ca", file}
	certs, err := s.certificates()
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	var fault error
	usable := 0
	for _, c := range certs {
		selfSigned := bytes.Equal(c.RawIssuer, c.RawSubject)
		switch {
		case !c.IsCA && !selfSigned:
			fault = s.fault(NotCA, fmt.Sprintf("name the certificate of its issuer %q instead", c.Issuer),
				"the certificate of %q is not one of a certificate authority", c.Subject)
			continue
		case now.Before(c.NotBefore) || now.After(c.NotAfter):
			fault = s.validity(c, now, "ask the lender for the present CA file")
			continue
		}
		pool.AddCert(c)
		usable++
	}
	if usable == 0 {
		return nil, fault
	}
	return pool, nil
}

// validity is the fault of a certificate outside its dates.
func (s slot) validity(c *x509.Certificate, now time.Time, renew string) error {
	clock := "; if the box's clock is wrong set it first (timedatectl)"
	if now.Before(c.NotBefore) {
		return s.fault(NotYetValid, "check the box's clock (timedatectl); if it is right, "+renew,
			"the certificate of %q is valid from %s and this box believes it is %s", c.Subject, day(c.NotBefore), day(now))
	}
	return s.fault(Expired, renew+clock,
		"the certificate of %q expired on %s and this box believes it is %s", c.Subject, day(c.NotAfter), day(now))
}

// loadChain reads the client certificate and its intermediates, leaf first.
func loadChain(file string, now time.Time) ([]*x509.Certificate, error) {
	s := slot{"tls.cert", file}
	chain, err := s.certificates()
	if err != nil {
		return nil, err
	}
	for i, c := range chain[:len(chain)-1] {
		if err := c.CheckSignatureFrom(chain[i+1]); err != nil {
			return nil, s.fault(ChainOrder, "order the file: the box's own certificate first, then each issuer",
				"certificate %d (%q) is not signed by certificate %d (%q)", i+1, c.Subject, i+2, chain[i+1].Subject)
		}
	}
	for _, c := range chain {
		if now.Before(c.NotBefore) || now.After(c.NotAfter) {
			return nil, s.validity(c, now, "ask the lender for a new client certificate")
		}
	}
	leaf := chain[0]
	client := len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0 ||
		slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny)
	if !client {
		return nil, s.fault(WrongUsage, "ask for a certificate with the usage clientAuth",
			"the certificate of %q is not made for clients (extended key usage lacks clientAuth)", leaf.Subject)
	}
	if leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return nil, s.fault(WrongUsage, "ask for a certificate with the usage digitalSignature",
			"the certificate of %q is not made for signing (key usage lacks digitalSignature)", leaf.Subject)
	}
	return chain, nil
}

func loadKey(file string) (crypto.Signer, error) {
	s := slot{"tls.key", file}
	blocks, err := s.read()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(blocks, func(b *pem.Block) bool { return strings.HasSuffix(b.Type, "PRIVATE KEY") })
	if i < 0 {
		return nil, s.fault(Swapped, "tls.cert and tls.key may be the wrong way round", "found %s, expected a private key", blocks[0].Type)
	}
	b := blocks[i]
	if b.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED") {
		return nil, s.fault(KeyEncrypted, "nobody is there to type the passphrase: store it decrypted with mode 0600: openssl pkey -in "+file+" -out "+file+".plain",
			"the private key is encrypted with a passphrase")
	}
	if how, err := private.Exposed(file, 0o037); err != nil {
		return nil, s.fault(FileUnreadable, "the path must name a readable file", "cannot be read: %v", pathless(err))
	} else if how != "" {
		return nil, s.fault(KeyReadableByOthers, private.Close(file), "others may read or change the private key: %s", how)
	}
	key, err := parseKey(b.Bytes)
	if err != nil {
		return nil, s.fault(Damaged, "copy the key again from where it was made", "the private key cannot be read: %v", err)
	}
	return key, nil
}

// parseKey reads PKCS #8, PKCS #1 and SEC 1 keys.
func parseKey(der []byte) (crypto.Signer, error) {
	if k, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return k, nil
	}
	if k, err := x509.ParseECPrivateKey(der); err == nil {
		return k, nil
	}
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("neither PKCS #8 nor PKCS #1 nor SEC 1")
	}
	signer, ok := k.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T cannot sign", k)
	}
	return signer, nil
}

func matchKey(f Files, chain []*x509.Certificate, key crypto.Signer) error {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	for i, c := range chain {
		if !ok || !public.Equal(c.PublicKey) {
			continue
		}
		if i == 0 {
			return nil
		}
		return slot{"tls.cert", f.Cert}.fault(ChainOrder, "order the file: the box's own certificate first, then each issuer",
			"the key belongs to certificate %d (%q), which must come first", i+1, c.Subject)
	}
	return slot{"tls.key", f.Key}.fault(KeyMismatch, "find the key the certificate was requested with, or request a new certificate",
		"the private key does not belong to the certificate of %q in %s", chain[0].Subject, f.Cert)
}

// pathless is err without the operation and path that already stand in front.
func pathless(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
