package lane

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coredns/coredns/plugin/metrics/vars"
	"github.com/coredns/coredns/plugin/pkg/rcode"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what a block answers in the metrics of *prometheus*, with the same
// labels, as vars.Report does for the chain. It does not look for a metric by its
// labels a query, which takes a lock, but keeps those that it has found.
type Metrics struct {
	zones  func() []string
	server string
	plugin string

	current atomic.Pointer[zoneMetrics]
}

// zoneMetrics are the metrics for a list of zones.
type zoneMetrics struct {
	zones  []string
	until  time.Time
	byName map[string]*metrics // by zone in wire form, and "" for none
}

// metrics are those of one zone. There is none before something is counted in it.
type metrics struct {
	labels   []string // server, zone and view, which come first in all metrics
	do       kept[prometheus.Counter]
	types    [2][len(monitored) + 1]kept[prometheus.Counter] // by family, and by type
	duration kept[prometheus.Observer]
	requests kept[prometheus.Observer]
	replies  kept[prometheus.Observer]
	rcodes   [16]kept[prometheus.Counter]
}

// kept is a metric that is looked for once.
type kept[T any] struct{ metric atomic.Pointer[T] }

// of returns the metric of a vector with these labels.
func (k *kept[T]) of(vec interface{ WithLabelValues(...string) T }, labels []string, more ...string) T {
	if m := k.metric.Load(); m != nil {
		return *m
	}
	m := vec.WithLabelValues(append(slices.Clip(labels), more...)...)
	k.metric.Store(&m)
	return m
}

// monitored are the types that have a label of their own, as in CoreDNS's
// plugin/metrics/vars/monitor.go, which does not export them.
var monitored = [...]uint16{
	dns.TypeTXT, dns.TypeA, dns.TypeAAAA, dns.TypeCNAME, dns.TypeDNSKEY, dns.TypeDS, dns.TypeMX, dns.TypeNSEC3, dns.TypeNSEC, dns.TypeNS,
	dns.TypePTR, dns.TypeRRSIG, dns.TypeSOA, dns.TypeSRV, dns.TypeHTTPS, dns.TypeSVCB, dns.TypeIXFR, dns.TypeAXFR, dns.TypeANY,
}

// zonesFor is how long a list of *prometheus*'s zones holds: *auto* changes it.
const zonesFor = time.Second

// NewMetrics returns a Counter for the address of a server. Zones lists the zones
// that *prometheus* knows; plugin is the one that it puts answers down to.
func NewMetrics(zones func() []string, server, plugin string) *Metrics {
	return &Metrics{zones: zones, server: server, plugin: plugin}
}

// Count implements Counter.
func (c *Metrics) Count(q *Query, request int, reply []byte) {
	now := c.current.Load()
	if now == nil || q.Now.After(now.until) {
		now = c.update(now, q.Now)
	}
	m := now.of(q.Name)
	if q.DO() {
		m.do.of(vars.RequestDo, m.labels).Inc()
	}
	family, familyLabel := 0, "1"
	if q.IPv6 {
		family, familyLabel = 1, "2"
	}
	rrtype, typeLabel := len(monitored), "other"
	if q.Type != dns.TypeSMIMEA {
		if i := slices.Index(monitored[:], q.Type); i >= 0 {
			rrtype, typeLabel = i, dns.Type(q.Type).String()
		}
	}
	m.types[family][rrtype].of(vars.RequestCount, m.labels, "udp", familyLabel, typeLabel).Inc()
	m.duration.of(vars.RequestDuration, m.labels).Observe(time.Since(q.Now).Seconds())
	size := len(reply)
	if q.Size > 0 {
		size = q.Size
	}
	m.replies.of(vars.ResponseSize, m.labels, "udp").Observe(float64(size))
	m.requests.of(vars.RequestSize, m.labels, "udp").Observe(float64(request))
	code := reply[3] & 0xf
	m.rcodes[code].of(vars.ResponseRcode, m.labels, rcode.ToString(int(code)), c.plugin).Inc()
}

// of returns the metrics of the longest zone that a name lies in.
func (z *zoneMetrics) of(name []byte) *metrics {
	for off := 0; name[off] != 0; off += 1 + int(name[off]) {
		if m, ok := z.byName[string(name[off:])]; ok {
			return m
		}
	}
	return z.byName[""]
}

func (c *Metrics) update(old *zoneMetrics, now time.Time) *zoneMetrics {
	next := &zoneMetrics{zones: c.zones(), until: now.Add(zonesFor)}
	if old != nil && slices.Equal(old.zones, next.zones) {
		next.byName = old.byName
	} else {
		of := func(zone string) *metrics { return &metrics{labels: []string{c.server, zone, ""}} }
		next.byName = map[string]*metrics{"": of(".")}
		for _, zone := range next.zones {
			wire := make([]byte, maxName)
			if n, err := dns.PackDomainName(strings.ToLower(zone), wire, 0, nil, false); err == nil && n > 1 {
				next.byName[string(wire[:n])] = of(zone)
			}
		}
	}
	c.current.Store(next)
	return next
}
