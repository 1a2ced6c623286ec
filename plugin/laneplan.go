package plugin

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/bufsize"
	"github.com/coredns/coredns/plugin/metrics"
	"github.com/coredns/coredns/plugin/pkg/transport"

	"coredns-smimea/plugin/internal/answer"
	"coredns-smimea/plugin/internal/lane"
	"coredns-smimea/smimea"
	"coredns-smimea/smimea/zone"
)

// skippable are the plugins before us whose work the lane can do, or that have none
// to do for a query that it answers.
var skippable = []string{"metadata", "geoip", "cancel", "bufsize", "prometheus", "errors", "local", "any", "chaos", "tls"}

// site is one key of a server block.
type site struct {
	*dnsserver.Config
	block int
	ours  *SMIMEA // nil for a block of others
}

// design says for each address whether, and for which of our blocks, there is a lane.
func (l *lanes) design(blocks []caddyfile.ServerBlock) map[string]*laneOpening {
	sites := map[string][]site{}
	for i, block := range blocks {
		var ours *SMIMEA
		for j := range block.Keys {
			at := l.corner
			at.ServerBlockIndex, at.ServerBlockKeyIndex = i, j
			cfg := dnsserver.GetConfig(&at)
			if s, ok := cfg.Handler(name).(*SMIMEA); ok {
				ours = s
			}
			for _, address := range listenAddresses(cfg) {
				sites[address] = append(sites[address], site{cfg, i, ours})
			}
		}
	}
	plan := map[string]*laneOpening{}
	for address, all := range sites {
		if all[0].Transport != transport.DNS {
			continue
		}
		options := lane.Options{Cores: max(all[0].NumSockets, 1), Sockets: runtime.GOMAXPROCS(0), Log: log}
		options.Answered, options.Passed = laneQueries.WithLabelValues(address, "answered"), laneQueries.WithLabelValues(address, "passed")
		if why := l.chain(all); why != "" {
			log.Debugf("No fast lane at %s: %s", address, why)
			continue
		}
		for _, s := range l.blocks {
			mine := slices.IndexFunc(all, func(t site) bool { return t.ours == s })
			if mine < 0 {
				continue
			}
			b, why := newLaneBlock(s, all)
			if why != "" {
				log.Debugf("No fast lane at %s for the zones of %s: %s", address, s.config.where, why)
				continue
			}
			counted := lane.Counted{Block: b}
			if m, ok := s.server.Handler("prometheus").(*metrics.Metrics); ok {
				counted.Counter = lane.NewMetrics(m.ZoneNames, address, m.Next.Name())
			}
			options.Blocks = append(options.Blocks, counted)
		}
		if len(options.Blocks) > 0 {
			plan[address] = &laneOpening{options, make(chan struct{})}
		}
	}
	return plan
}

// chain returns why all packets to an address have to go CoreDNS's own way.
func (l *lanes) chain(all []site) string {
	for _, t := range all {
		switch {
		case t.ProxyProtoConnPolicy != nil:
			return "*proxyproto* reads what comes in"
		case t.Handler("shed") != nil:
			return "*shed* writes what goes out"
		case t.Port == "0":
			return "the kernel picks the port"
		}
	}
	return ""
}

// A laneBlock answers in the lane of an address for the zones of a block, and counts
// that as ServeDNS does.
type laneBlock struct {
	*SMIMEA
	direct *answer.Direct
}

// Answer implements lane.Block.
func (b *laneBlock) Answer(q *lane.Query, room []byte) ([]byte, bool) {
	reply, zone, result, ok := b.direct.Answer(q, room)
	return b.count(q, reply, zone, result, ok)
}

// Sign implements lane.Block.
func (b *laneBlock) Sign(q *lane.Query, room []byte) ([]byte, bool) {
	reply, zone, result, ok := b.direct.Sign(q, room)
	return b.count(q, reply, zone, result, ok)
}

func (b *laneBlock) count(q *lane.Query, reply []byte, zone int, result answer.Result, ok bool) ([]byte, bool) {
	if ok {
		b.lease.Answered()
		b.counters[zone][typeIndex(q.Type)][result].Inc()
	}
	return reply, ok
}

// newLaneBlock returns what answers for s in the lane of an address with these
// sites, or why the chain has to.
func newLaneBlock(s *SMIMEA, all []site) (*laneBlock, string) {
	if s.config.answered.laneOff {
		return nil, "lane off"
	}
	if !s.answers.TakesOctets {
		return nil, "a plugin before smimea has to see the answers"
	}
	if len(s.server.FilterFuncs) > 0 {
		return nil, "*view* chooses the queries"
	}
	ours, others, why := route(s, all)
	if why != "" {
		return nil, why
	}
	d := answer.NewDirect(s.answers, s.config.answered.udpLimit, ours, others)
	for _, h := range s.server.Handlers() {
		if h.Name() == name {
			break
		}
		if !slices.Contains(skippable, h.Name()) {
			return nil, fmt.Sprintf("*%s* has to see the queries", h.Name())
		}
		switch h.Name() {
		case "bufsize":
			d.Size = min(d.Size, h.(bufsize.Bufsize).Size)
		case "local":
			d.Localhost = true
		}
	}
	return &laneBlock{s, d}, ""
}

// route finds out which names of each zone the server of these sites gives to the
// block, by the trees of the zones: a site of the longest zone that a name lies in gets
// the query. Others are names among them for which somebody else answers, in wire form.
func route(s *SMIMEA, all []site) (ours [][3]bool, others map[string]bool, why string) {
	ours, others = make([][3]bool, len(s.at)), map[string]bool{}
	leave := func(name string) error {
		wire, err := zone.Wire(name)
		if err == nil {
			others[string(wire)] = true
		}
		return err
	}
	for _, name := range append(slices.Clip(s.instance.challenged), s.config.answered.catalog) {
		if name == "" {
			continue
		}
		if err := leave(name); err != nil {
			return nil, nil, err.Error()
		}
	}
	for i, p := range s.at {
		for tree, root := range [3]string{zone.Certs: smimea.CertsLabel + "." + p.Domain + ".", zone.Texts: smimea.TextsLabel + "." + p.Domain + ".", zone.Rest: p.Origin} {
			var longest *site
			for k := range all {
				t := &all[k]
				if plugin.Name(t.Zone).Matches(root) && (longest == nil || len(t.Zone) > len(longest.Zone)) {
					longest = t
				}
			}
			ours[i][tree] = longest != nil && longest.ours == s
			for k := range all { // which of them gets a query, *view* says
				if t := &all[k]; longest != nil && t.Zone == longest.Zone && t.ours != longest.ours && (t.ours == s || longest.ours == s) {
					return nil, nil, fmt.Sprintf("another block serves %s, too", t.Zone)
				}
			}
		}
		for k := range all {
			t := &all[k]
			switch {
			case t.ours == s || !plugin.Name(p.Origin).Matches(t.Zone):
			case t.Zone != p.Origin:
				if err := leave(t.Zone); err != nil {
					return nil, nil, err.Error()
				}
			}
		}
	}
	return ours, others, ""
}
