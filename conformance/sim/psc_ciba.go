package sim

import (
	"cmp"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"
)

// grantCIBA is the grant by which a client asks whether the person has answered
// on their device.
const grantCIBA = "urn:openid:params:grant-type:ciba"

const (
	pscCIBALife = 120 * time.Second // of an auth_req_id
	pscInterval = 5                 // seconds between two polls
	pscSlower   = 5 * time.Second   // what slow_down adds
)

// pscAsked is a login that waits for an answer on a device.
type pscAsked struct {
	ID       string // of the page; the auth_req_id is for the client alone
	Client   string
	Person   pscPerson
	Message  string // binding_message
	Channel  string
	answer   string // "", approve, deny
	expires  time.Time
	polled   time.Time
	interval time.Duration
	used     bool
}

// PSCDevice is how the device of every person behaves.
type PSCDevice struct {
	Auto     string `json:"auto"`     // "": a person answers; approve or deny: at once
	Interval int    `json:"interval"` // seconds between two polls
}

// PSCPending is a login that waits on a device, as the control port shows it.
type PSCPending struct {
	LoginHint      string `json:"login_hint"`
	BindingMessage string `json:"binding_message"`
	Channel        string `json:"channel"`
	Client         string `json:"client_id"`
}

var messageForm = regexp.MustCompile(`^[0-9]{2}$`)

// cibaAuth takes a request of backchannel authentication. It refuses in the
// order that was measured outside.
func (p *PSC) cibaAuth(w http.ResponseWriter, r *http.Request) {
	client, form, ok := p.authenticated(w, r)
	if !ok {
		return
	}
	refuse := func(code, text string) { pscRefuse(w, http.StatusBadRequest, code, text) }
	who, known := pscPersonBy(form.Get("login_hint"))
	scope := splitScope(form.Get("scope"))
	switch {
	case !client.CIBA:
		pscRefuse(w, http.StatusUnauthorized, "invalid_grant", "CIBA n'est pas activé pour ce client")
		return
	case !form.Has("login_hint"):
		refuse("invalid_request", "login_hint manque")
		return
	case len(scope) == 0:
		refuse("invalid_request", "scope manque")
		return
	case !known || who.NationalID != form.Get("login_hint"):
		refuse("invalid_request", "invalid_user")
		return
	case !slices.Contains(scope, "openid"):
		refuse("invalid_scope", "le scope openid est obligatoire")
		return
	case form.Get("acr_values") != "eidas1":
		refuse("invalid_request", "acr_values=eidas1 est obligatoire")
		return
	case form.Get("channel") != "CARD" && form.Get("channel") != "MOBILE":
		refuse("invalid_request", "channel vaut CARD ou MOBILE")
		return
	case !messageForm.MatchString(form.Get("binding_message")):
		refuse("invalid_binding_message", "binding_message est un nombre de deux chiffres")
		return
	}
	if _, broken := p.strike("ciba-channel", ""); broken {
		pscRefuse(w, http.StatusServiceUnavailable, "server_error", "le canal vers le dispositif est en panne (demandé)")
		return
	}
	id, err1 := p.text(32)
	shown, err2 := p.text(18)
	if err := errors.Join(err1, err2); err != nil {
		pscRefuse(w, http.StatusInternalServerError, "server_error", "tirage au sort impossible")
		return
	}
	now := p.cfg.Clock()
	who.means = form.Get("channel")
	p.mu.Lock()
	p.tidy()
	interval := time.Duration(p.device.Interval) * time.Second
	p.asked[id] = &pscAsked{ID: shown, Client: client.ID, Person: who, Message: form.Get("binding_message"), Channel: who.means,
		answer: p.device.Auto, expires: now.Add(pscCIBALife), polled: now, interval: interval}
	p.mu.Unlock()
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, map[string]any{"auth_req_id": id, "expires_in": int(pscCIBALife.Seconds()), "interval": int(interval.Seconds())})
}

// poll gives the session of an auth_req_id that was approved, or the error to
// answer with.
func (p *PSC) poll(client PSCClient, form url.Values) (*pscSession, string, string) {
	_, slow := p.strike("ciba-slow-down", "")
	now := p.cfg.Clock()
	p.mu.Lock()
	a, ok := p.asked[form.Get("auth_req_id")]
	if !ok || a.Client != client.ID || !client.CIBA || a.used {
		p.mu.Unlock()
		return nil, "invalid_grant", "auth_req_id inconnu, d'un autre client, ou déjà utilisé"
	}
	early := now.Sub(a.polled) < a.interval
	a.polled = now
	switch {
	case now.After(a.expires):
		p.mu.Unlock()
		return nil, "expired_token", "le professionnel n'a pas répondu à temps"
	case early || slow:
		a.interval += pscSlower
		p.mu.Unlock()
		return nil, "slow_down", "interrogation trop fréquente"
	case a.answer == "":
		p.mu.Unlock()
		return nil, "authorization_pending", "le professionnel n'a pas encore répondu"
	case a.answer == "deny":
		a.used = true
		p.mu.Unlock()
		return nil, "access_denied", "le professionnel a refusé"
	}
	a.used = true
	who := a.Person
	p.mu.Unlock()
	if _, ok := p.strike("ciba-other-person", ""); ok {
		means := who.means
		for _, other := range pscPeople() {
			if other.NationalID != who.NationalID {
				who = other
				break
			}
		}
		who.means = means
	}
	id, err := p.begin(client.ID, "", who)
	if err != nil {
		return nil, "server_error", "tirage au sort impossible"
	}
	s, ok := p.alive(id)
	if !ok {
		return nil, "invalid_grant", "session fermée"
	}
	return s, "", ""
}

// SetDevice changes how devices behave.
func (p *PSC) SetDevice(d PSCDevice) error {
	if !slices.Contains([]string{"", "approve", "deny"}, d.Auto) {
		return errors.New("auto vaut approve, deny ou rien")
	}
	d.Interval = cmp.Or(d.Interval, pscInterval)
	if d.Interval < 1 || d.Interval > 60 {
		return errors.New("interval va de 1 à 60 secondes")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.device = d
	return nil
}

// Pending lists the logins that wait on a device.
func (p *PSC) Pending() []PSCPending {
	out := []PSCPending{}
	for _, a := range p.waiting() {
		out = append(out, PSCPending{LoginHint: a.Person.NationalID, BindingMessage: a.Message, Channel: a.Channel, Client: a.Client})
	}
	return out
}

func (p *PSC) waiting() []pscAsked {
	now := p.cfg.Clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []pscAsked
	for _, a := range p.asked {
		if a.answer == "" && !now.After(a.expires) {
			out = append(out, *a)
		}
	}
	slices.SortFunc(out, func(a, b pscAsked) int { return cmp.Or(a.expires.Compare(b.expires), cmp.Compare(a.ID, b.ID)) })
	return out
}

// Answer plays the person who answers on their device; false when nothing waits
// for them with this message.
func (p *PSC) Answer(loginHint, message, answer string) bool {
	return p.answerIf(answer, func(a *pscAsked) bool { return a.Person.NationalID == loginHint && a.Message == message })
}

func (p *PSC) answerIf(answer string, matches func(*pscAsked) bool) bool {
	now := p.cfg.Clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.asked {
		if a.answer == "" && !now.After(a.expires) && matches(a) {
			a.answer = answer
			return true
		}
	}
	return false
}

// devicePage is the e-CPS application of everybody: the logins that wait, each
// with the number to compare.
func (p *PSC) devicePage(w http.ResponseWriter, _ *http.Request) {
	p.show(w, http.StatusOK, pscDeviceTemplate, pscPage{Asked: p.waiting()})
}

func (p *PSC) deviceAnswer(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	answer := r.PostFormValue("answer")
	id := r.PostFormValue("id")
	if answer != "approve" && answer != "deny" || !p.answerIf(answer, func(a *pscAsked) bool { return a.ID == id }) {
		p.show(w, http.StatusBadRequest, pscDeviceTemplate, pscPage{Error: "Cette demande a expiré ou a déjà reçu une réponse.", Asked: p.waiting()})
		return
	}
	http.Redirect(w, r, "/ciba", http.StatusSeeOther)
}

func (s *Sandbox) cibaKnob() knob {
	type state struct {
		PSCDevice
		Pending []PSCPending `json:"pending"`
	}
	read := func() any {
		s.psc.mu.Lock()
		d := s.psc.device
		s.psc.mu.Unlock()
		return state{d, s.psc.Pending()}
	}
	return knob{Path: "/psc/ciba", state: read,
		Values: map[string]any{"auto": []string{"", "approve", "deny"}, "interval": "1 à 60 secondes",
			"POST": `{"login_hint":"8…","binding_message":"42","answer":"approve"} : approve ou deny`},
		Description: "Dispositif du professionnel (CIBA) : PUT règle la réponse automatique et l'intervalle, POST répond à une demande en attente, DELETE revient à une réponse à la main. CIBA s'active client par client sous /psc/registration.",
		set: func(b []byte) error {
			var d PSCDevice
			if err := decodeStrict(b, &d); err != nil {
				return err
			}
			return s.psc.SetDevice(d)
		},
		add: func(b []byte) error {
			var v struct {
				LoginHint string `json:"login_hint"`
				Message   string `json:"binding_message"`
				Answer    string `json:"answer"`
			}
			if err := decodeStrict(b, &v); err != nil {
				return err
			}
			if v.Answer != "approve" && v.Answer != "deny" {
				return errors.New("answer vaut approve ou deny")
			}
			if !s.psc.Answer(v.LoginHint, v.Message, v.Answer) {
				return fmt.Errorf("aucune demande n'attend %.40q avec le nombre %.10q", v.LoginHint, v.Message)
			}
			return nil
		},
		reset: func() error { return s.psc.SetDevice(PSCDevice{}) }}
}

var pscDeviceTemplate = template.Must(template.New("device").Parse(`<!doctype html>
<html lang="fr">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>e-CPS fictive – bac à sable</title>
<style>
body{font-family:system-ui,sans-serif;margin:0;background:#f3f5f9;color:#12264a}
main{max-width:30rem;margin:2rem auto;background:#fff;padding:1.5rem 2rem;border-radius:.5rem;border:1px solid #c9d3e6}
.bac{background:#8a1c1c;color:#fff;padding:.6rem 1rem;text-align:center}
strong{font-size:1.6rem}
button{background:#1f4fa3;color:#fff;border:0;border-radius:.3rem;padding:.7rem 1.4rem;font-size:1rem}
</style>
</head>
<body>
<p class="bac">Bac à sable Passerelle : service et personnes fictifs, aucune donnée réelle.</p>
<main>
<h1>Demandes de connexion</h1>
{{if .Error}}<p role="alert">{{.Error}}</p>{{end}}
{{range .Asked}}<form method="post">
<p>{{.Person.Name}} : le service {{.Client}} demande à vous identifier ({{if eq .Channel "CARD"}}carte CPS{{else}}e-CPS{{end}}). Ce nombre est-il celui de votre poste ? <strong>{{.Message}}</strong></p>
<input type="hidden" name="id" value="{{.ID}}">
<p><button name="answer" value="approve">Accepter</button> <button name="answer" value="deny">Refuser</button></p>
</form>{{else}}<p>Aucune demande n'attend de réponse.</p>{{end}}
<p><a href="/ciba">Actualiser</a></p>
</main>
</body>
</html>
`))
