package conformance

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// How a scenario is judged.
const (
	Automated   = "automated"   // by this program, over the wire
	Assisted    = "assisted"    // a person shows and films it
	Declarative = "declarative" // a document or an attestation
	External    = "external"    // a tool or a certificate of others
)

// Catalogue is the requirements of one edition of one DSR, in our own words.
type Catalogue struct {
	Format       int           `yaml:"format" json:"format"`
	DSR          string        `yaml:"dsr" json:"dsr"` // code and edition: without it an id is no key
	System       string        `yaml:"system" json:"system"`
	Couloir      string        `yaml:"couloir" json:"couloir"`
	Source       string        `yaml:"source" json:"source"`
	Notice       string        `yaml:"notice" json:"notice"`
	Requirements []Requirement `yaml:"requirements" json:"requirements"`
	SHA256       string        `yaml:"-" json:"sha256"` // of the file
}

// Requirement is one requirement of a DSR.
type Requirement struct {
	ID         string     `yaml:"id" json:"id"`
	DSR        string     `yaml:"dsr" json:"dsr"` // HOP-PFI-Va1 or HOP-PFI-Va2
	REM        string     `yaml:"rem" json:"rem"` // the sheet where the id was read
	Alias      string     `yaml:"alias" json:"alias,omitempty"`
	Profile    string     `yaml:"profile" json:"profile"`
	Nature     string     `yaml:"nature" json:"nature"`         // DOIT or PEUT
	Confidence string     `yaml:"confidence" json:"confidence"` // PUB: id read on a public page; W: in a working export
	Theme      string     `yaml:"theme" json:"theme"`
	Text       string     `yaml:"text" json:"text"`
	Scenarios  []Scenario `yaml:"scenarios" json:"scenarios"`
}

// Scenario is one way to judge a requirement. Its id is that of the DSR when
// Origin is "DSR", ours otherwise.
type Scenario struct {
	ID     string `yaml:"id" json:"id"`
	Origin string `yaml:"origin" json:"origin"`
	Mode   string `yaml:"mode" json:"mode"`
	Title  string `yaml:"title" json:"title"`
	Check  string `yaml:"check" json:"check,omitempty"` // of this program
	Proof  string `yaml:"proof" json:"proof,omitempty"` // what to bring when it is not automated
}

//go:embed catalogue/*.yaml
var catalogueFiles embed.FS

// DefaultCatalogue is the edition that run uses.
const DefaultCatalogue = "hop-pfi-va2-2023-02-draft"

// LoadCatalogue reads an edition of this program.
func LoadCatalogue(edition string) (*Catalogue, error) {
	data, err := catalogueFiles.ReadFile("catalogue/" + edition + ".yaml")
	if err != nil {
		return nil, &Fault{FaultCatalogue, edition, err}
	}
	return ParseCatalogue(edition, data)
}

// ParseCatalogue reads and checks a catalogue.
func ParseCatalogue(where string, data []byte) (*Catalogue, error) {
	c := &Catalogue{}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(c); err != nil {
		return nil, &Fault{FaultCatalogue, where, err}
	}
	for i := range c.Requirements {
		for k := range c.Requirements[i].Scenarios {
			if s := &c.Requirements[i].Scenarios[k]; s.Origin == "" {
				s.Origin = "DSR"
			}
		}
	}
	if err := c.check(); err != nil {
		return nil, &Fault{FaultCatalogue, where, err}
	}
	sum := sha256.Sum256(data)
	c.SHA256 = hex.EncodeToString(sum[:])
	return c, nil
}

var requirementID = regexp.MustCompile(`^[A-Z]{2,5}[A-Za-z0-9/]*\.\d{2}$`)

func (c *Catalogue) check() error {
	if c.Format != 1 || c.DSR == "" || len(c.Requirements) == 0 {
		return fmt.Errorf("format 1, dsr and requirements are wanted")
	}
	used, seen := map[string]bool{}, map[string]bool{}
	for _, r := range c.Requirements {
		switch {
		case !requirementID.MatchString(r.ID):
			return fmt.Errorf("requirement %q: not an id of a DSR", r.ID)
		case seen[r.ID]:
			return fmt.Errorf("requirement %s stands twice", r.ID)
		case r.Nature != "DOIT" && r.Nature != "PEUT":
			return fmt.Errorf("requirement %s: nature %q", r.ID, r.Nature)
		case r.Confidence != "PUB" && r.Confidence != "W":
			return fmt.Errorf("requirement %s: confidence %q", r.ID, r.Confidence)
		case r.DSR == "" || r.REM == "" || r.Profile == "" || r.Theme == "" || r.Text == "" || len(r.Scenarios) == 0:
			return fmt.Errorf("requirement %s: dsr, rem, profile, theme, text and scenarios are wanted", r.ID)
		}
		seen[r.ID] = true
		for _, s := range r.Scenarios {
			if err := s.check(r.ID, seen); err != nil {
				return err
			}
			seen[s.ID] = true
			used[s.Check] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(checks)) {
		if !used[name] {
			return fmt.Errorf("check %q serves no scenario", name)
		}
	}
	return nil
}

func (s Scenario) check(requirement string, seen map[string]bool) error {
	switch {
	case !strings.HasPrefix(s.ID, requirement+".") || seen[s.ID]:
		return fmt.Errorf("scenario %q of %s: not its own id", s.ID, requirement)
	case s.Origin != "DSR" && s.Origin != "Passerelle":
		return fmt.Errorf("scenario %s: origin %q", s.ID, s.Origin)
	case s.Title == "":
		return fmt.Errorf("scenario %s has no title", s.ID)
	}
	switch s.Mode {
	case Automated:
		if checks[s.Check] == nil {
			return fmt.Errorf("scenario %s: no check is named %q", s.ID, s.Check)
		}
	case Assisted, Declarative, External:
		if s.Proof == "" || s.Check != "" {
			return fmt.Errorf("scenario %s: a proof is wanted, and no check", s.ID)
		}
	default:
		return fmt.Errorf("scenario %s: mode %q", s.ID, s.Mode)
	}
	return nil
}
