// Package testdata holds the fictitious people, houses, documents and messages
// of Passerelle. Nobody here exists: matricules are on the test authority
// (1.2.250.1.213.1.4.10) with valid keys, national identifiers, FINESS numbers
// and telephone numbers are invented, documents are under the arc
// 1.2.250.1.999, which nobody holds.
//
// Everything is a pure function of its options: no clock, no chance. Called
// twice, a generator gives the same bytes. A zero option means the ordinary
// value, so that CDA(CDAOptions{}) and ORU(MessageOptions{}) are correct as
// they are, and a test names only what it wants different.
//
// # Where we differ or had to choose
//
//   - Families are written as the INS wants them (capitals, no accent), given
//     names of birth too; used names of professionals keep their case.
//   - PDF are PDF/A-1b with a small drawn font of our own: no font of others is
//     embedded and none is needed to show them.
package testdata

// OIDTest is the authority of every matricule of this package.
const OIDTest = "1.2.250.1.213.1.4.10"

// Arcs of the identifiers that this package invents.
const (
	DocumentArc = "1.2.250.1.999.1" // documents
	HouseArc    = "1.2.250.1.999.3" // establishments and their systems
)

// Patient is a fictitious person. Its JSON is the one of the sandbox file.
type Patient struct {
	ID         string `json:"id"`
	Matricule  string `json:"matricule"`
	OID        string `json:"oid"`
	Status     string `json:"status"` // QUAL, RECUP, VALI, PROV
	DMP        string `json:"dmp"`    // open, closed, none
	BirthName  string `json:"birth_name"`
	FirstGiven string `json:"first_given"`
	GivenNames string `json:"given_names"`
	Sex        string `json:"sex"`
	BirthDate  string `json:"birth_date"` // YYYY-MM-DD
	BirthPlace string `json:"birth_place"`

	BirthCity string `json:"-"`
	Street    string `json:"-"`
	PostCode  string `json:"-"`
	City      string `json:"-"`
	IPP       string `json:"-"` // in the first establishment
}

// Well-known patients, by id.
const (
	PatientOpen      = "pat-valadier"  // QUAL, open DMP; the first
	PatientTrois     = "pat-trois"     // QUAL, open DMP; the one of the national examples
	PatientClosed    = "pat-santini"   // QUAL, closed DMP, born in Corsica
	PatientNoDMP     = "pat-benali"    // QUAL, no DMP, born abroad
	PatientNoINS     = "pat-lemaire"   // VALI, no INS
	PatientRetrieved = "pat-retrouvet" // RECUP: a matricule that must not leave
	PatientChild     = "pat-mineur"    // QUAL, open DMP, a child
)

// Patients lists the fictitious people; the first is QUAL with an open DMP.
func Patients() []Patient {
	return []Patient{
		{ID: PatientOpen, Matricule: "280076311310118", OID: OIDTest, Status: "QUAL", DMP: "open",
			BirthName: "VALADIER", FirstGiven: "CLAIRE", GivenNames: "CLAIRE ANNE LUCIE", Sex: "F",
			BirthDate: "1980-07-14", BirthPlace: "63113", BirthCity: "CLERMONT-FERRAND",
			Street: "12 rue des Essais", PostCode: "63000", City: "CLERMONT-FERRAND", IPP: "900001"},
		{ID: PatientTrois, Matricule: "279035121518989", OID: OIDTest, Status: "QUAL", DMP: "open",
			BirthName: "PAT-TROIS", FirstGiven: "DOMINIQUE", GivenNames: "DOMINIQUE MARIE-LOUISE", Sex: "F",
			BirthDate: "1979-03-28", BirthPlace: "51215", BirthCity: "DOMPREMY",
			Street: "3 place du Modèle", PostCode: "51300", City: "VITRY-LE-FRANCOIS", IPP: "900003"},
		{ID: PatientClosed, Matricule: "155112A00403363", OID: OIDTest, Status: "QUAL", DMP: "closed",
			BirthName: "SANTINI", FirstGiven: "ANGE", GivenNames: "ANGE TOUSSAINT", Sex: "M",
			BirthDate: "1955-11-02", BirthPlace: "2A004", BirthCity: "AJACCIO",
			Street: "5 cours de la Recette", PostCode: "20000", City: "AJACCIO", IPP: "900004"},
		{ID: PatientNoDMP, Matricule: "191049935001719", OID: OIDTest, Status: "QUAL", DMP: "none",
			BirthName: "BENALI", FirstGiven: "SAMIR", GivenNames: "SAMIR", Sex: "M",
			BirthDate: "1991-04-21", BirthPlace: "99350", BirthCity: "RABAT",
			Street: "8 allée du Bac à Sable", PostCode: "63100", City: "CLERMONT-FERRAND", IPP: "900005"},
		{ID: PatientNoINS, Status: "VALI", DMP: "none",
			BirthName: "LEMAIRE", FirstGiven: "JEANNE", GivenNames: "JEANNE ROSE", Sex: "F",
			BirthDate: "2001-02-03", BirthPlace: "69381", BirthCity: "LYON 1ER ARRONDISSEMENT",
			Street: "1 quai du Test", PostCode: "69001", City: "LYON", IPP: "900006"},
		{ID: PatientRetrieved, Matricule: "287067505621459", OID: OIDTest, Status: "RECUP", DMP: "open",
			BirthName: "RETROUVET", FirstGiven: "HELENE", GivenNames: "HELENE MARTHE", Sex: "F",
			BirthDate: "1987-06-30", BirthPlace: "75056", BirthCity: "PARIS",
			Street: "20 rue de la Copie", PostCode: "75012", City: "PARIS", IPP: "900007"},
		{ID: PatientChild, Matricule: "216093818504511", OID: OIDTest, Status: "QUAL", DMP: "open",
			BirthName: "MINEUR", FirstGiven: "LEA", GivenNames: "LEA MANON", Sex: "F",
			BirthDate: "2016-09-12", BirthPlace: "38185", BirthCity: "GRENOBLE",
			Street: "7 rue de l'Exemple", PostCode: "38000", City: "GRENOBLE", IPP: "900008"},
	}
}

// PatientByID finds a person; the zero Patient when there is none.
func PatientByID(id string) Patient {
	for _, p := range Patients() {
		if p.ID == id {
			return p
		}
	}
	return Patient{}
}

// Persona is a fictitious professional. Its JSON is the one of the sandbox file.
type Persona struct {
	ID         string `json:"id"`
	NationalID string `json:"national_id"` // 8 then RPPS
	Profession string `json:"profession"`  // TRE_G15
	Name       string `json:"name"`
	Mailbox    string `json:"mailbox"`

	Family           string `json:"-"`
	Given            string `json:"-"`
	Prefix           string `json:"-"` // civilité
	Suffix           string `json:"-"` // titre
	Specialty        string `json:"-"` // JDV_J01
	SpecialtyDisplay string `json:"-"`
	Authorised       bool   `json:"-"` // holds a valid DMP authorisation on the first patient
	Blocked          bool   `json:"-"` // blocked by the first patient
}

// Well-known personas, by id.
const (
	PersonaPhysician   = "dr-delmas"    // authorised on the first patient; the first
	PersonaBiologist   = "dr-morel"     // medical biologist
	PersonaRadiologist = "dr-noel"      // radiologist
	PersonaNurse       = "ide-carpent"  // nurse, authorised on the first patient
	PersonaPharmacist  = "ph-aubert"    // pharmacist
	PersonaBlocked     = "dr-interdite" // physician, blocked by the first patient
)

// Personas lists the professionals; the first is a physician with a valid
// authorisation on the first patient.
func Personas() []Persona {
	return []Persona{
		{ID: PersonaPhysician, NationalID: "819990000010", Profession: "10", Name: "Paul DELMAS", Mailbox: "paul.delmas@test-ci-sis.mssante.fr",
			Family: "DELMAS", Given: "Paul", Prefix: "M", Suffix: "DR",
			Specialty: "G15_10/SM27", SpecialtyDisplay: "Médecin - Médecine interne (SM)", Authorised: true},
		{ID: PersonaBiologist, NationalID: "819990000028", Profession: "10", Name: "Léa MOREL", Mailbox: "lea.morel@test-ci-sis.mssante.fr",
			Family: "MOREL", Given: "Léa", Prefix: "MME", Suffix: "DR",
			Specialty: "G15_10/SM03", SpecialtyDisplay: "Médecin - Biologie médicale (SM)"},
		{ID: PersonaRadiologist, NationalID: "819990000036", Profession: "10", Name: "Hugo NOEL", Mailbox: "hugo.noel@test-ci-sis.mssante.fr",
			Family: "NOEL", Given: "Hugo", Prefix: "M", Suffix: "DR",
			Specialty: "G15_10/SM44", SpecialtyDisplay: "Médecin - Radio-diagnostic (SM)"},
		{ID: PersonaNurse, NationalID: "819990000044", Profession: "60", Name: "Inès CARPENTIER", Mailbox: "ines.carpentier@test-ci-sis.mssante.fr",
			Family: "CARPENTIER", Given: "Inès", Prefix: "MME",
			Specialty: "G15_60", SpecialtyDisplay: "Infirmier", Authorised: true},
		{ID: PersonaPharmacist, NationalID: "819990000051", Profession: "21", Name: "Marc AUBERT", Mailbox: "marc.aubert@test-ci-sis.mssante.fr",
			Family: "AUBERT", Given: "Marc", Prefix: "M",
			Specialty: "G15_21", SpecialtyDisplay: "Pharmacien"},
		{ID: PersonaBlocked, NationalID: "819990000069", Profession: "10", Name: "Nora LEDUC", Mailbox: "nora.leduc@test-ci-sis.mssante.fr",
			Family: "LEDUC", Given: "Nora", Prefix: "MME", Suffix: "DR",
			Specialty: "G15_10/SM26", SpecialtyDisplay: "Médecin - Qualifié en Médecine Générale (SM)", Blocked: true},
	}
}

// PersonaByID finds a professional by id or national identifier; the zero
// Persona when there is none.
func PersonaByID(id string) Persona {
	for _, p := range Personas() {
		if p.ID == id || p.NationalID == id {
			return p
		}
	}
	return Persona{}
}

// Establishment is a fictitious house with a fictitious FINESS.
type Establishment struct {
	ID        string
	Name      string
	FINESSEJ  string // legal entity
	FINESSGeo string // site
	SourceOID string // OID of its sending system
	IPPOID    string // authority of its IPP
	Namespace string // HL7 namespace of its identifiers, and MSH-4

	Facility, FacilityDisplay string // JDV_J02
	Practice, PracticeDisplay string // JDV_J04
	Street, PostCode, City    string
	Phone                     string
}

// Establishments lists the houses: a hospital, then a second one of another
// legal entity, for whatever must keep establishments apart.
func Establishments() []Establishment {
	return []Establishment{
		{ID: "ch-essais", Name: "CENTRE HOSPITALIER DES ESSAIS", FINESSEJ: "990000010", FINESSGeo: "990000028",
			SourceOID: HouseArc + ".1.1", IPPOID: HouseArc + ".1.2", Namespace: "CH-ESSAIS",
			Facility: "SA01", FacilityDisplay: "Etablissement public de santé",
			Practice: "ETABLISSEMENT", PracticeDisplay: "Etablissement de santé",
			Street: "1 avenue de la Répétition", PostCode: "63000", City: "CLERMONT-FERRAND", Phone: "0400000001"},
		{ID: "clinique-modele", Name: "CLINIQUE DU MODELE", FINESSEJ: "990000036", FINESSGeo: "990000044",
			SourceOID: HouseArc + ".2.1", IPPOID: HouseArc + ".2.2", Namespace: "CLI-MODELE",
			Facility: "SA04", FacilityDisplay: "Etablissement privé non PSPH",
			Practice: "ETABLISSEMENT", PracticeDisplay: "Etablissement de santé",
			Street: "9 rue du Modèle", PostCode: "69002", City: "LYON", Phone: "0400000002"},
	}
}
