package journal

import "github.com/passerelle-sante/passerelle/gateway"

// BoundedLogins is [Journal.Logins] with less room.
func BoundedLogins(j *Journal, most int) *Logins { return &Logins{db: j.db, most: most} }

// HotQueries are asked for every message or many times a second.
var HotQueries = map[string]string{
	"claim":           claimable(0),
	"claim but":       claimable(3),
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
	"next due":        nextFreeQuery(0),
	"next due but":    nextFreeQuery(3),
	"next lease":      nextLeaseQuery(0),
	"next lease but":  nextLeaseQuery(3),
	"state":           stateQuery,
	"held":            heldQuery,
	"told later":      toldLaterQuery,
	"superseded":      supersededQuery,
	"letter":          letterQuery,
	"message":         messageQuery,
	"consent":         consentQuery,
	"list by state":   ListQuery(gateway.Query{State: gateway.Quarantined}),
	"next page":       ListQuery(gateway.Query{State: gateway.Quarantined, Before: "s"}),
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
	"list":            ListQuery(gateway.Query{}),
	"list by control": ListQuery(gateway.Query{ControlID: "c"}),
	"list by door":    ListQuery(gateway.Query{Door: "mail", Before: "s"}),
	"list of a state": ListQuery(gateway.Query{ControlID: "c", State: gateway.Done, Before: "s"}),
}

// ListQuery reads a page of one site.
func ListQuery(q gateway.Query) string {
	query, _ := listQuery(q)
	return query
}
