package operator

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/passerelle-sante/passerelle/mss"
)

// Server is one door of the operator and how the gateway proves itself there.
type Server struct {
	Address  string          // host:port
	Name     string          // name that the server certificate must carry
	Roots    *x509.CertPool  // authorities of the operator's certificate; never those of the system
	Client   tls.Certificate // ORG AUTH_CLI (ECO.1.3.1)
	Username string          // address of the BAL APP; empty: the certificate alone proves who we are
	Password string
	Timeout  time.Duration // of the connection, and of each command

	// Verify is asked besides the chain, the name and the dates: revocation, range
	// of the certificate. Optional.
	Verify func(tls.ConnectionState) error
	// Dial opens the connection. Optional.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

func (s Server) check() error {
	switch {
	case s.Address == "":
		return &mss.Error{Code: mss.FaultSender, Where: "address"}
	case s.Name == "":
		return &mss.Error{Code: mss.FaultSender, Where: "name"}
	case len(s.Client.Certificate) == 0:
		return &mss.Error{Code: mss.FaultSender, Where: "client"}
	case s.Roots == nil:
		return &mss.Error{Code: mss.FaultSender, Where: "roots"}
	case s.Timeout <= 0:
		return &mss.Error{Code: mss.FaultSender, Where: "timeout"}
	}
	return nil
}

// tls is the profile of the API LPS (ECO.1.1.1 to 1.1.3) as far as the standard
// library has it: of the six suites, the two that are neither CBC nor DHE.
func (s Server) tls() *tls.Config {
	return &tls.Config{
		ServerName:       s.Name,
		RootCAs:          s.Roots,
		MinVersion:       tls.VersionTLS12,
		CipherSuites:     []uint16{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
		CurvePreferences: []tls.CurveID{tls.CurveP256, tls.CurveP384, tls.CurveP521},
		VerifyConnection: func(state tls.ConnectionState) error {
			if s.Verify == nil {
				return nil
			}
			if err := s.Verify(state); err != nil {
				return &distrusted{err}
			}
			return nil
		},
		// Sent whatever authorities the server names: a certificate that is not
		// the right one is to be refused by name, not left out in silence.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &s.Client, nil },
	}
}

// distrusted is the word of Verify, on its way through the TLS library.
type distrusted struct{ error }

func (d *distrusted) Unwrap() error { return d.error }

func (s Server) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	if s.Dial != nil {
		return s.Dial(ctx, "tcp", s.Address)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", s.Address)
}

// secure says what a failure on the way to a protected connection means; empty
// when it is no matter of certificates.
func secure(err error) string {
	var (
		verification *tls.CertificateVerificationError
		authority    x509.UnknownAuthorityError
		host         x509.HostnameError
		invalid      x509.CertificateInvalidError
		word         *distrusted
	)
	switch {
	case errors.As(err, &word), errors.As(err, &verification), errors.As(err, &authority), errors.As(err, &host), errors.As(err, &invalid):
		return FaultServerCertificate
	case refusedByPeer(err):
		return FaultClientCertificate
	}
	return ""
}

// refusedByPeer tells whether an alert of the peer speaks of our certificate. The
// alerts have no exported type, and libraries wrap them as text.
func refusedByPeer(err error) bool {
	if err == nil {
		return false
	}
	_, alert, ok := strings.Cut(err.Error(), "remote error: tls: ")
	if !ok {
		return false
	}
	for _, of := range []string{
		"bad certificate", "unsupported certificate", "revoked certificate", "expired certificate",
		"unknown certificate", "certificate required", "access denied",
	} {
		if strings.HasPrefix(alert, of) {
			return true
		}
	}
	return false
}

// broken tells whether the connection itself failed, as opposed to a library
// that refused to go on.
func broken(err error) bool {
	var network net.Error
	var alert tls.AlertError
	var record tls.RecordHeaderError
	return errors.As(err, &network) || errors.As(err, &alert) || errors.As(err, &record) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) ||
		strings.Contains(err.Error(), "tls: ")
}
