package console

import (
	"fmt"
	"net/http"
	"time"
)

// Certificate is one that the gateway presents or serves with.
type Certificate struct {
	Name    string // the setting that names it
	Expires time.Time
	Problem string // why it cannot be read; empty: it can
	Subject string
}

// soonDays is when a certificate that expires is a warning: ordering one takes
// weeks.
const soonDays = 30

type warningsPage struct {
	Alarms       []alarmLine
	Certificates []certificateLine
}

type alarmLine struct {
	Since time.Time
	tell
}

type certificateLine struct {
	Name, Subject, Problem string
	Expires                time.Time
	Left                   string
	State                  mark
}

// warnings shows what somebody must act on: standing alarms, and certificates
// that end.
func (c *Console) warnings(v *visit) error {
	var out warningsPage
	for _, a := range c.cfg.Alarms() {
		out.Alarms = append(out.Alarms, alarmLine{a.Since, notice(v.lang, a.Code, "")})
	}
	now := c.cfg.Clock()
	for _, one := range c.cfg.Certificates() {
		line := certificateLine{Name: one.Name, Subject: one.Subject, Problem: one.Problem, Expires: one.Expires}
		days := int(one.Expires.Sub(now) / (24 * time.Hour))
		switch {
		case one.Problem != "":
			line.State = mark{in(v.lang, "Illisible", "Unreadable"), lookBad}
		case !now.Before(one.Expires):
			line.State = mark{in(v.lang, "Expiré", "Expired"), lookBad}
		case days < soonDays:
			line.State, line.Left = mark{in(v.lang, "Expire bientôt", "Expires soon"), lookWarn}, daysLeft(v.lang, days)
		default:
			line.State, line.Left = mark{in(v.lang, "Valide", "Valid"), lookGood}, daysLeft(v.lang, days)
		}
		out.Certificates = append(out.Certificates, line)
	}
	c.render(v, http.StatusOK, "warnings", titleWarnings, out)
	return nil
}

func daysLeft(lang string, days int) string {
	switch days {
	case 0:
		return in(lang, "moins d'un jour", "less than a day")
	case 1:
		return in(lang, "1 jour", "1 day")
	}
	return fmt.Sprintf(in(lang, "%d jours", "%d days"), days)
}
