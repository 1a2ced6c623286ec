// Package secondary hands zones on to other name servers: [Primary] serves
// transfers of a server block and its [Catalog], [Notifier] announces changes, and
// [Group] makes signed zones for secondaries that cannot sign.
package secondary

import (
	clog "github.com/coredns/coredns/plugin/pkg/log"

	"coredns-smimea/plugin/internal/metric"
	"coredns-smimea/plugin/internal/neighbour"
)

var log = clog.NewWithPlugin(neighbour.Self)

var (
	transfersTotal = metric.Counter("transfers_total",
		"Transfers of a zone to secondaries, by how they went: axfr, ixfr, current (nothing to send), refused, cut, broken.",
		"zone", "kind")
	secondarySerial = metric.Gauge("secondary_serial",
		"Serial of a zone at a secondary, as it has answered last.",
		"zone", "secondary")
	secondaryReachable = metric.Gauge("secondary_reachable",
		"Whether a secondary has answered the last question for the SOA record of a zone: 1 or 0.",
		"zone", "secondary")
	signatureExpiry = metric.Gauge("signature_expiry_timestamp_seconds",
		"When the first signature ends of a zone as it is transferred with signatures.",
		"zone")
)
