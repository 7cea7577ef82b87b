//go:build !nosandbox

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// wire keeps every byte that leaves a gateway by any port. Relays stand between
// it and each outside service and end TLS, so that they see what is said; what
// the doors answer is taken by the clients that ask.
type wire struct {
	t     *testing.T
	files wireFiles

	mu    sync.Mutex
	heard []*utterance
}

// wireFiles are the certificates with which a relay is the service to the
// gateway, and the gateway to the service.
type wireFiles struct {
	server, operator tls.Certificate
	roots            *x509.CertPool
}

// utterance is what was said in one direction: of one connection, or of one
// HTTP exchange.
type utterance struct {
	port string
	mu   sync.Mutex
	data []byte
	read int // how much of it was searched
}

// Write adds what was said.
func (u *utterance) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.data = append(u.data, p...)
	return len(p), nil
}

func (w *wire) begin(port string) *utterance {
	u := &utterance{port: port}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = append(w.heard, u)
	return u
}

// news gives what was said since the last look, by protocol. A conversation that
// went on is given whole again.
func (w *wire) news(each func(protocol string, data []byte)) (bytes int) {
	w.mu.Lock()
	all := append([]*utterance(nil), w.heard...)
	w.mu.Unlock()
	for _, u := range all {
		u.mu.Lock()
		data, fresh := u.data, len(u.data) > u.read
		bytes += len(u.data) - u.read
		u.read = len(u.data)
		u.mu.Unlock()
		if fresh {
			each(protocolOf(u.port, data), data)
		}
	}
	return bytes
}

// protocolOf tells apart what leaves by one port to different people.
func protocolOf(port string, data []byte) string {
	switch {
	case port == "smtp" && bytes.Contains(data, []byte("@patient.mssante.fr>\r\n")):
		return "smtp to the patient"
	case port == "smtp" && bytes.Contains(data, []byte("multipart/report")):
		return "smtp, receipt to a sender"
	case port == "smtp":
		return "smtp to a professional"
	case port == "hospital" && bytes.Contains(data, []byte("|MDM^")):
		return "hl7 out, MDM"
	case port == "hospital":
		return "hl7 out, ZAM"
	}
	return port
}

func newWire(t *testing.T, r *rehearsal) *wire {
	t.Helper()
	w := &wire{t: t}
	var err error
	if w.files.roots, err = pool(r.w.info.TLS.CA); err != nil {
		t.Fatal(err)
	}
	g := r.w.config.Gateway
	w.files.server = w.pair(g.Certificate, g.Key)
	// The gateway looks up whether an operator's certificate was revoked: only that
	// of the operator says where.
	operator := filepath.Join(filepath.Dir(r.w.info.TLS.CA), "operator-server")
	w.files.operator = w.pair(operator+".pem", operator+".key")
	return w
}

func (w *wire) pair(cert, key string) tls.Certificate {
	w.t.Helper()
	kp, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		w.t.Fatal(err)
	}
	return kp
}

// tapped sends everything that a configuration makes the gateway dial through
// relays. What is not relayed is not configured.
func (w *wire) tapped(c *Config) {
	up := func(address string) string {
		u, err := url.Parse(address)
		if err != nil {
			w.t.Fatal(err)
		}
		return u.Host
	}
	moved := func(address, from, to string) string { return strings.Replace(address, from, to, 1) }

	c.Establishments[0].Hospital = w.tcp("hospital", c.Establishments[0].Hospital, nil)

	atDMP := w.pair(c.DMP.Certificate, c.DMP.Key)
	dmp := w.http("fhir out (DMP)", up(c.DMP.FHIR), &atDMP)
	if up(c.DMP.Token) != up(c.DMP.FHIR) {
		w.t.Fatal("the DMP has two addresses: both want a relay")
	}
	c.DMP.Token = moved(c.DMP.Token, up(c.DMP.FHIR), dmp)
	c.DMP.FHIR = moved(c.DMP.FHIR, up(c.DMP.FHIR), dmp)

	app := w.pair(c.MSS.Certificate, c.MSS.Key)
	c.MSS.SMTP = w.tcp("smtp", c.MSS.SMTP, &app)
	c.MSS.IMAP = w.tcp("imap", c.MSS.IMAP, &app)
	c.MSS.WhiteList = moved(c.MSS.WhiteList, up(c.MSS.WhiteList), w.http("white list", up(c.MSS.WhiteList), nil))

	issuer := up(c.PSC.Issuer)
	c.PSC.Discovery = "https://" + w.http("psc", issuer, nil) + strings.TrimPrefix(c.PSC.Issuer, "https://"+issuer) + "/.well-known/wallet-openid-configuration"
}

// http relays HTTP over TLS to a service, with a certificate for it.
func (w *wire) http(port, up string, certificate *tls.Certificate) (address string) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: w.files.roots}
	if certificate != nil {
		conf.Certificates = []tls.Certificate{*certificate}
	}
	transport := &http.Transport{TLSClientConfig: conf}
	relay := &httputil.ReverseProxy{
		Transport: transport, ErrorLog: log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "https", up, up
		},
		ModifyResponse: func(a *http.Response) error {
			if !strings.HasSuffix(a.Request.URL.Path, "/.well-known/wallet-openid-configuration") {
				return nil
			}
			// What discovery tells to call is called through the relay too; the name of
			// the issuer stays.
			body, err := io.ReadAll(a.Body)
			if err != nil {
				return err
			}
			name := a.Request.Header.Get("X-Relay")
			body = bytes.ReplaceAll(body, []byte(`_endpoint":"https://`+up), []byte(`_endpoint":"https://`+name))
			body = bytes.ReplaceAll(body, []byte(`_uri":"https://`+up), []byte(`_uri":"https://`+name))
			a.Body, a.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			a.Header.Set("Content-Length", fmt.Sprint(len(body)))
			return nil
		},
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		u := w.begin(port)
		fmt.Fprintf(u, "%s %s\r\n", r.Method, r.RequestURI)
		_ = r.Header.Write(u)
		_, _ = io.WriteString(u, "\r\n")
		body, err := io.ReadAll(r.Body)
		_, _ = u.Write(body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.Header.Set("X-Relay", r.Host)
		relay.ServeHTTP(rw, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{w.files.server}, ClientAuth: tls.RequestClientCert, NextProtos: []string{"http/1.1"}}
	s.StartTLS()
	w.t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
		transport.CloseIdleConnections()
	})
	return s.Listener.Addr().String()
}

// tcp relays a connection. With a certificate it goes on under TLS from the
// moment at which the gateway says STARTTLS and is answered.
func (w *wire) tcp(port, up string, certificate *tls.Certificate) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	all.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				far, err := net.Dial("tcp", up)
				if err != nil {
					_ = near.Close()
					return
				}
				stop := context.AfterFunc(ctx, func() { _, _ = near.Close(), far.Close() })
				defer stop()
				w.relay(near, far, w.begin(port), certificate)
			})
		}
	})
	w.t.Cleanup(func() {
		cancel()
		_ = l.Close()
		all.Wait()
	})
	return l.Addr().String()
}

func (w *wire) relay(near, far net.Conn, u *utterance, certificate *tls.Certificate) {
	defer near.Close()
	defer far.Close()
	if certificate != nil {
		secretNear, secretFar, ok := w.startTLS(near, far, u, *certificate)
		if !ok {
			return
		}
		near, far = secretNear, secretFar
	}
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(near, far)
		if c, ok := near.(interface{ CloseWrite() error }); ok {
			_ = c.CloseWrite()
		}
		close(done)
	}()
	_, _ = io.Copy(io.MultiWriter(u, far), near)
	if c, ok := far.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	<-done
}

// startTLS relays the lines before TLS, then begins it on both sides.
func (w *wire) startTLS(near, far net.Conn, u *utterance, certificate tls.Certificate) (net.Conn, net.Conn, bool) {
	var asked atomic.Bool
	answered := make(chan bool, 1)
	go func() {
		lines := bufio.NewReader(far)
		for {
			line, err := lines.ReadBytes('\n')
			last := asked.Load() // the one line that answers STARTTLS
			_, _ = near.Write(line)
			if err != nil || last {
				_ = err == nil || near.Close() == nil
				answered <- err == nil
				return
			}
		}
	}()
	lines := bufio.NewReader(near)
	for {
		line, err := lines.ReadBytes('\n')
		_, _ = u.Write(line)
		if bytes.Contains(bytes.ToUpper(line), []byte("STARTTLS")) {
			asked.Store(true)
		}
		if _, failed := far.Write(line); err != nil || failed != nil {
			return nil, nil, false
		}
		if !asked.Load() {
			continue
		}
		if !<-answered {
			return nil, nil, false
		}
		host, _, _ := net.SplitHostPort(far.RemoteAddr().String())
		secretFar := tls.Client(far, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: w.files.roots, ServerName: host, Certificates: []tls.Certificate{certificate}})
		secretNear := tls.Server(near, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{w.files.operator}, ClientAuth: tls.RequestClientCert})
		return secretNear, secretFar, true
	}
}

// listening is a client that keeps what the gateway's doors answer to it.
func (w *wire) listening(port string, c *http.Client) *http.Client {
	inner := c.Transport
	c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		a, err := inner.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		u := w.begin(port)
		fmt.Fprintf(u, "%s\r\n", a.Status)
		_ = a.Header.Write(u)
		_, _ = io.WriteString(u, "\r\n")
		a.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(a.Body, u), a.Body}
		return a, nil
	})
	return c
}

type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip makes it a transport.
func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
