package sim

import (
	"encoding/json"
	"fmt"

	"github.com/passerelle-sante/passerelle/testdata"
)

// Info is the sandbox file: where everything is, who is known. Every key is
// always present; what does not exist yet is an empty string.
type Info struct {
	Version   int                `json:"version"`
	Gateway   GatewayInfo        `json:"gateway"` // filled by the caller
	Hospital  HospitalInfo       `json:"hospital"`
	DMP       DMPInfo            `json:"dmp"`
	PSC       PSCInfo            `json:"psc"`
	INSi      INSiInfo           `json:"insi"`
	Operator  OperatorInfo       `json:"operator"`
	Directory DirectoryInfo      `json:"directory"`
	Control   string             `json:"control"`
	TLS       TLSInfo            `json:"tls"`
	Personas  []testdata.Persona `json:"personas"`
	Patients  []testdata.Patient `json:"patients"`
}

// GatewayInfo is where the gateway listens.
type GatewayInfo struct {
	HTTP  string `json:"http"`
	HTTPS string `json:"https"`
	FHIR  string `json:"fhir"`
	Token string `json:"token"`
	MLLP  string `json:"mllp"`
}

// HospitalInfo is where the hospital software listens and shows its messages.
type HospitalInfo struct {
	MLLP     string `json:"mllp"`
	Messages string `json:"messages"`
}

// DMPInfo is the DMP and its authorization server.
type DMPInfo struct {
	FHIR  string `json:"fhir"`
	Token string `json:"token"`
}

// PSCInfo is Pro Santé Connect.
type PSCInfo struct {
	Issuer        string `json:"issuer"`
	Discovery     string `json:"discovery"`
	Authorization string `json:"authorization"`
	Token         string `json:"token"`
	ClientID      string `json:"client_id"`
	ClientSecret  string `json:"client_secret"`
	RedirectURI   string `json:"redirect_uri"`
}

// INSiInfo is the INSi teleservice.
type INSiInfo struct {
	URL string `json:"url"`
}

// OperatorInfo is the MSSanté operator.
type OperatorInfo struct {
	SMTP           string `json:"smtp"`
	IMAP           string `json:"imap"`
	Domain         string `json:"domain"`
	GatewayMailbox string `json:"gateway_mailbox"`
	Mailboxes      string `json:"mailboxes"`
	Whitelist      string `json:"whitelist"`
	CRL            string `json:"crl"`
}

// DirectoryInfo is the Annuaire Santé.
type DirectoryInfo struct {
	FHIR   string `json:"fhir"`
	APIKey string `json:"api_key"`
}

// TLSInfo are paths of certificates, one role each.
type TLSInfo struct {
	CA          string `json:"ca"`
	ClientCert  string `json:"client_cert"`
	ClientKey   string `json:"client_key"`
	MachineCert string `json:"machine_cert"`
	MachineKey  string `json:"machine_key"`
	INSiCert    string `json:"insi_cert"`
	INSiKey     string `json:"insi_key"`
	BALAppCert  string `json:"bal_app_cert"`
	BALAppKey   string `json:"bal_app_key"`
}

// Files are the paths and the names that a gateway.yaml needs and that the
// sandbox file does not carry, because they are the gateway's own.
type Files struct {
	CA            string // to check the DMP and the callers
	ServerCert    string // of the gateway's HTTPS
	ServerKey     string
	DMPCert       string // of the gateway at the DMP
	DMPKey        string
	DMPClientID   string // its client_id at the DMP's authorization server
	DMPIssuer     string
	DMPJWKS       string
	MachineCN     string // common name of the machine of the establishment
	ClientCN      string // common name of the vendor's certificate
	Establishment testdata.Establishment
}

// WriteInfo writes the sandbox file in one step: who sees it sees it whole. It
// holds paths of keys and, later, secrets: it is readable by its owner only.
func WriteInfo(path string, info Info) error {
	data, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return fmt.Errorf("sim: sandbox file: %w", err)
	}
	return writeFile(path, append(data, '\n'), 0o600)
}

// ReadInfo reads a sandbox file.
func ReadInfo(data []byte) (Info, error) {
	var i Info
	if err := json.Unmarshal(data, &i); err != nil {
		return Info{}, fmt.Errorf("sim: sandbox file: %w", err)
	}
	if i.Version != 1 {
		return Info{}, fmt.Errorf("sim: sandbox file of version %d, this program reads version 1", i.Version)
	}
	return i, nil
}
