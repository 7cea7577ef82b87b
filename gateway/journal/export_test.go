package journal

// BoundedLogins is [Journal.Logins] with less room.
func BoundedLogins(j *Journal, most int) *Logins { return &Logins{db: j.db, most: most} }

// HotQueries are asked for every message or many times a second.
var HotQueries = map[string]string{
	"claim":           claimable,
	"recorded":        recordedQuery,
	"submission":      submissionQuery,
	"documents":       documentsQuery,
	"deliveries":      deliveriesQuery,
	"events":          eventsQuery,
	"named":           namedQuery,
	"fate":            fateQuery,
	"last code":       lastCodeQuery,
	"untold":          untoldQuery,
	"queued fate":     queuedFateQuery,
	"next due":        nextFreeQuery,
	"next lease":      nextLeaseQuery,
	"state":           stateQuery,
	"held":            heldQuery,
	"told later":      toldLaterQuery,
	"superseded":      supersededQuery,
	"letter":          letterQuery,
	"message":         messageQuery,
	"consent":         consentQuery,
	"list by state":   `SELECT id FROM submission WHERE finess_geo = ? AND state = ? ORDER BY seq DESC LIMIT 5`,
	"login":           loginQuery,
	"logins":          loginsQuery,
	"old logins":      oldLoginQuery,
	"person":          personQuery,
	"found":           foundQuery(2),
	"changes":         changesQuery,
	"exchange":        exchangeQuery,
	"overdue":         overdue,
	"due":             dueQuery,
	"waiting":         waitingQuery,
	"quarantine":      quarantineQuery,
	"list":            `SELECT id FROM submission WHERE finess_geo = ? ORDER BY seq DESC LIMIT 5`,
	"list by control": `SELECT id FROM submission WHERE finess_geo = ? AND control_id = ? ORDER BY seq DESC LIMIT 5`,
}
