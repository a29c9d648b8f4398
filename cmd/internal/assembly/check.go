package assembly

import (
	"fmt"

	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/configs/strict"
	"github.com/tallystick/tallystick/drivers/profile"
)

// Load reads a site file and checks it against the profiles known. Everything
// wrong with the file comes back as one *configs.Error.
func Load(path string) (*configs.Site, error) {
	var lib *profile.Library
	site, err := configs.LoadSite(path, func(dir string) (_ configs.Profiles, err error) {
		if lib, err = Library(dir); err != nil {
			return nil, err
		}
		return known{lib}, nil
	})
	if err != nil {
		return nil, err
	}
	if err := site.Refuse(check(site, lib)); err != nil {
		return nil, err
	}
	return site, nil
}

// check finds what only the device profiles can tell about a site file, each
// fault at its place.
func check(site *configs.Site, lib *profile.Library) []strict.Fault {
	var faults []strict.Fault
	for i := range site.Meters {
		m := &site.Meters[i]
		p, err := lib.Get(m.Profile)
		if err != nil || p.Secondary {
			continue // LoadSite has named an unknown profile
		}
		for key, r := range map[string]*configs.Ratio{"ct": &m.CT, "pt": &m.PT} {
			if *r != (configs.Ratio{Coef: 1}) {
				faults = append(faults, site.Position(r).Fault(strict.Problem{
					Code: configs.CodeRatio,
					Msg:  fmt.Sprintf("meter %s: profile %s gives values of the primary side already, found %s: %v", m.Name, m.Profile, key, r),
					Hint: fmt.Sprintf("set the ratio in the meter itself and remove %s: here, or every value counts twice", key),
				}))
			}
		}
	}
	strict.Sort(faults)
	return faults
}
