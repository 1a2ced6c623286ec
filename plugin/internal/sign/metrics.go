package sign

import "coredns-smimea/plugin/internal/metric"

var signatures = metric.Counter("signatures_total",
	"Signatures made by dnssec for this plugin, ahead of queries or for one.",
	"when")

// A Use is what signatures are made for, as the metrics count them.
type Use string

const (
	ForAhead    Use = "ahead"    // before anybody asks
	ForQuery    Use = "query"    // for the answer to one
	ForDenial   Use = "denial"   // the same, for what does not exist
	ForTransfer Use = "transfer" // for secondaries
)

// Count counts one RRset that was signed for a use.
func (u Use) Count() { signatures.WithLabelValues(string(u)).Inc() }
