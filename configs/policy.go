package configs

import "github.com/tallystick/tallystick/configs/strict"

// Policy is whom a reader of bundles believes, checked and complete like Site.
type Policy struct {
	Boxes   []Box    `yaml:"boxes" required:"true"`
	Lenders []Issuer `yaml:"lenders"` // whose receipts count
	// Witnesses is a file in the syntax of C2SP tlog-policy: which witnesses, and
	// how many of them, are enough.
	Witnesses string `yaml:"witnesses"`

	File
	Warnings []strict.Fault
}

// Issuer is a lender whose receipts are believed.
type Issuer struct {
	Name LenderName `yaml:"name" required:"true"`
	Key  PublicKey  `yaml:"key" required:"true"`
}

// LoadPolicy reads and checks a policy file. A fault comes back as an *Error
// with all the others.
func LoadPolicy(path string) (*Policy, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	p := &Policy{}
	c := decode(path, data, p)
	p.File = c.file
	if c.meaningful(p) {
		c.count(len(p.Boxes), MaxBoxes, "boxes", &p.Boxes)
		c.some(len(p.Boxes), "box", &p.Boxes)
		taken := c.names("box")
		for i := range p.Boxes {
			taken(string(p.Boxes[i].Name), &p.Boxes[i].Name)
		}
		taken = c.names("lender")
		for i := range p.Lenders {
			taken(string(p.Lenders[i].Name), &p.Lenders[i].Name)
		}
		c.path(&p.Witnesses)
	}
	p.Warnings = c.warnings
	return finish(c, p)
}
