package psc

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
)

// Professional is who a request is made by, as Pro Santé Connect says.
type Professional struct {
	NationalID   string      `json:"national_id"` // SubjectNameID: the account key
	Subject      string      `json:"subject"`     // technical, changes with the identifier
	OtherIDs     []OtherID   `json:"other_ids,omitempty"`
	Family       string      `json:"family,omitempty"`
	Given        string      `json:"given,omitempty"`
	Professions  []string    `json:"professions,omitempty"` // codes of SubjectRole, without their OID
	Situations   []Situation `json:"situations,omitempty"`  // every activity of every exercise
	ACR          string      `json:"acr"`
	Means        string      `json:"means,omitempty"`         // authMode: CARD, MOBILE
	SessionState string      `json:"session_state,omitempty"` // correlates traces with PSC
	At           time.Time   `json:"at"`                      // when they proved who they are

	Client      string    `json:"client,omitempty"`      // who brought the token; the gateway's own client for a session
	Certificate string    `json:"certificate,omitempty"` // x5t#S256 the token is bound to; empty for a session
	Expires     time.Time `json:"expires"`               // of the token or of the session

	// Situation is the work situation: chosen by the person, or the only one
	// there is. Nil while several could be meant.
	Situation *Situation `json:"situation,omitempty"`

	token string // digest of the jti: which token this is
}

// OtherID is another identifier of the same person: ADELI, RPPS, EDIT.
type OtherID struct {
	Value  string `json:"identifiant"`
	Origin string `json:"origine"`
}

// Situation is one activity of one exercise (SubjectRefPro).
type Situation struct {
	Key             string `json:"key"`                  // stable as long as PSC says the same
	Profession      string `json:"profession"`           // TRE_G15 and its successors
	Category        string `json:"category"`             // TRE_R09: C, E (student), M
	Speciality      string `json:"speciality,omitempty"` // codeSavoirFaire
	Role            string `json:"role,omitempty"`       // TRE_R21, TRE_R85
	Activity        string `json:"activity,omitempty"`   // TRE_R22: GENR01 care … GENR04 none
	Mode            string `json:"mode,omitempty"`       // TRE_R23: L, S, B
	Sector          string `json:"sector,omitempty"`     // TRE_R02
	PharmacySection string `json:"pharmacy_section,omitempty"`
	Structure       string `json:"structure,omitempty"` // technical id: F… or R…
	StructureID     string `json:"structure_id,omitempty"`
	FINESSGeo       string `json:"finess_geo,omitempty"`
	FINESSEJ        string `json:"finess_ej,omitempty"`
	Name            string `json:"name,omitempty"`
	FamilyName      string `json:"family_name,omitempty"` // nom d'exercice
	GivenName       string `json:"given_name,omitempty"`
	Title           string `json:"title,omitempty"` // civilité d'exercice
}

// Cares tells whether the activity is one of care: neither a student's nor one
// that PSC marks as without care.
func (s Situation) Cares() bool { return s.Category != "E" && s.Activity != "GENR04" }

// Care refuses who may log in and not act on a patient: no professional data, a
// student, an activity without care. With a work situation chosen, only that
// one counts.
func (p Professional) Care() error {
	if p.Situation != nil {
		if p.Situation.Cares() {
			return nil
		}
		return refuse(FaultNoCare, "SubjectRefPro")
	}
	for _, s := range p.Situations {
		if s.Cares() {
			return nil
		}
	}
	return refuse(FaultNoCare, "SubjectRefPro")
}

// choose sets the work situation; only one that PSC told may be chosen.
func (p *Professional) choose(key string) error {
	for _, s := range p.Situations {
		if s.Key == key {
			p.Situation = &s
			return nil
		}
	}
	return refuse(FaultSituation, "SubjectRefPro")
}

// maxSituations bounds what one person may have.
const maxSituations = 200

// userinfo is what PSC says of a person. Leaves that are absent are "".
type userinfo struct {
	Sub           string    `json:"sub"`
	Preferred     string    `json:"preferred_username"`
	SubjectNameID string    `json:"SubjectNameID"`
	GivenName     string    `json:"given_name"`
	FamilyName    string    `json:"family_name"`
	AuthMode      string    `json:"authMode"`
	OtherIDs      []OtherID `json:"otherIds"`
	SubjectRole   textList  `json:"SubjectRole"`
	RefPro        struct {
		Exercises []struct {
			Profession string `json:"codeProfession"`
			Category   string `json:"codeCategorieProfessionnelle"`
			Title      string `json:"codeCiviliteDexercice"`
			Family     string `json:"nomDexercice"`
			Given      string `json:"prenomDexercice"`
			Speciality string `json:"codeSavoirFaire"`
			Activities []struct {
				Mode      string `json:"codeModeExercice"`
				Sector    string `json:"codeSecteurDactivite"`
				Section   string `json:"codeSectionPharmacien"`
				Role      string `json:"codeRole"`
				Genre     string `json:"codeGenreActivite"`
				FINESSGeo string `json:"numeroFinessSite"`
				FINESSEJ  string `json:"numeroFinessetablissementJuridique"`
				Structure string `json:"identifiantTechniqueDeLaStructure"`
				FormerID  string `json:"ancienIdentifiantDeLaStructure"`
				Name      string `json:"raisonSocialeSite"`
			} `json:"activities"`
		} `json:"exercices"`
	} `json:"SubjectRefPro"`
}

func (u userinfo) nameID() string {
	if u.SubjectNameID != "" {
		return u.SubjectNameID
	}
	return u.Preferred
}

// textList is a list of texts, or one text alone.
type textList []string

// UnmarshalJSON takes both forms.
func (l *textList) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		if one != "" {
			*l = textList{one}
		}
		return nil
	}
	var many []string
	if err := json.Unmarshal(data, &many); err != nil {
		return err
	}
	*l = many
	return nil
}

// describe fills what userinfo says.
func (p *Professional) describe(u userinfo) {
	p.Family, p.Given = u.FamilyName, u.GivenName
	p.OtherIDs = u.OtherIDs[:min(len(u.OtherIDs), 20)]
	if u.AuthMode != "" {
		p.Means = u.AuthMode
	}
	for _, role := range u.SubjectRole {
		code, _, _ := strings.Cut(role, "^")
		if code != "" && len(p.Professions) < 20 {
			p.Professions = append(p.Professions, code)
		}
	}
	for _, e := range u.RefPro.Exercises {
		for _, a := range e.Activities {
			if len(p.Situations) == maxSituations {
				return
			}
			s := Situation{Profession: e.Profession, Category: e.Category, Speciality: e.Speciality, Role: a.Role, Activity: a.Genre,
				Mode: a.Mode, Sector: a.Sector, PharmacySection: a.Section, Structure: a.Structure, StructureID: a.FormerID,
				FINESSGeo: a.FINESSGeo, FINESSEJ: a.FINESSEJ, Name: a.Name, FamilyName: e.Family, GivenName: e.Given, Title: e.Title}
			sum := sha256.Sum256([]byte(strings.Join([]string{s.Profession, s.Category, s.Speciality, s.Role, s.Activity, s.Mode,
				s.Sector, s.PharmacySection, s.Structure, s.StructureID, s.FINESSGeo}, "\x00")))
			s.Key = base64.RawURLEncoding.EncodeToString(sum[:12])
			p.Situations = append(p.Situations, s)
		}
	}
	if len(p.Situations) == 1 {
		only := p.Situations[0]
		p.Situation = &only
	}
}

// levels orders the assurance levels that we know.
var levels = map[string]int{"eidas1": 1, "eidas2": 2, "eidas3": 3}

// assured tells whether an acr is known and at least the one required.
func assured(acr, required string) bool {
	return levels[acr] > 0 && levels[acr] >= levels[required]
}
