// Package secondary hands zones on to other name servers: [Primary] serves
// transfers of a server block and its [Catalog], [Notifier] announces changes, and
// [Group] makes signed zones for secondaries that cannot sign.
package secondary

import (
	"github.com/coredns/coredns/plugin"
	clog "github.com/coredns/coredns/plugin/pkg/log"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"coredns-smimea/plugin/internal/neighbour"
)

var log = clog.NewWithPlugin(neighbour.Self)

var (
	transfersTotal = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: neighbour.Self, Name: "transfers_total",
		Help: "Transfers of a zone to secondaries, by how they went: axfr, ixfr, current (nothing to send), refused, cut, broken.",
	}, []string{"zone", "kind"})
	secondarySerial = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: neighbour.Self, Name: "secondary_serial",
		Help: "Serial of a zone at a secondary, as it has answered last.",
	}, []string{"zone", "secondary"})
	secondaryReachable = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: neighbour.Self, Name: "secondary_reachable",
		Help: "Whether a secondary has answered the last question for the SOA record of a zone: 1 or 0.",
	}, []string{"zone", "secondary"})
	signatureExpiry = promauto.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: neighbour.Self, Name: "signature_expiry_timestamp_seconds",
		Help: "When the first signature ends of a zone as it is transferred with signatures.",
	}, []string{"zone"})
)
