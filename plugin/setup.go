package plugin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	clog "github.com/coredns/coredns/plugin/pkg/log"

	"coredns-smimea/plugin/internal/certhost"
	"coredns-smimea/plugin/internal/lane"
	"coredns-smimea/plugin/internal/neighbour"
	"coredns-smimea/plugin/internal/publish"
)

const name = neighbour.Self

var log = clog.NewWithPlugin(name)

// clock is the time that answers and signatures go by. A publisher has its own, in its
// World.
var clock = time.Now

func init() { plugin.Register(name, setup) }

// An instance is what one Corefile makes of the server. All its blocks share one,
// and during a reload there are two.
type instance struct {
	number   int
	corefile neighbour.Corefile
	// challenged are the names that DNS-01 challenges of ours may come to be at.
	challenged []string
	lanes      lanes
}

type instanceKey struct{}

func instanceOf(c *caddy.Controller) *instance {
	if i, ok := c.Get(instanceKey{}).(*instance); ok {
		return i
	}
	i := &instance{number: publish.NewInstance()}
	c.Set(instanceKey{}, i)
	i.corefile = neighbour.ReadCorefile(instanceKey{}, i)
	listenForStarts()
	return i
}

func setup(c *caddy.Controller) error {
	i := instanceOf(c)
	conf, err := parse(c)
	if err != nil {
		return plugin.Error(name, err)
	}
	err = conf.at("https", i.corefile.CheckDoH(conf.host.https))
	if err == nil {
		err = conf.at("http", i.corefile.CheckDoH(conf.host.http))
	}
	if err != nil {
		return plugin.Error(name, err)
	}
	conf.notified = func(zone string) neighbour.Notified { return i.corefile.Notified(c.ServerBlockIndex, zone) }
	s := &SMIMEA{config: conf, server: dnsserver.GetConfig(c), instance: i}
	if conf.host.dns01 {
		if i.challenged == nil {
			// Before our own, which denies what is not there.
			dnsserver.AddPluginToAllServerBlocks(c, func(next plugin.Handler) plugin.Handler {
				return challengeHandler{next, i}
			})
		}
		for _, domain := range conf.host.acme.Domains {
			i.challenged = append(i.challenged, challengeName(domain))
		}
	}
	s.server.AddPlugin(func(next plugin.Handler) plugin.Handler {
		s.Next = next
		return s
	})
	i.lanes.hook(c)
	c.OnStartup(func() error {
		if err := s.start(); err != nil {
			return plugin.Error(name, conf.located(err))
		}
		return nil
	})
	c.OnRestartFailed(func() error {
		haltNewer(i.number)
		publish.AbandonReload(i.number)
		lane.Abandon()
		certhost.ReleaseOthers(i)
		return nil
	})
	// An error here would stop a reload half-way.
	c.OnShutdown(func() error { s.stop(); return nil })
	return nil
}

// parse reads the directive. It starts nothing.
func parse(c *caddy.Controller) (*config, error) {
	conf := defaults()
	conf.root = dnsserver.GetConfig(c).Root
	conf.block = c.ServerBlockKeys
	for i := 0; c.Next(); i++ {
		if i > 0 {
			return nil, c.Err("a second smimea in this server block: one serves several zones, and a block of its own another directory")
		}
		conf.where = fmt.Sprintf("%s:%d", c.File(), c.Line())
		args := c.RemainingArgs()
		if len(args) == 0 {
			return nil, c.Err("the directory is missing: smimea DIR [ZONES...]")
		}
		if slices.Contains(args, "") {
			return nil, c.Err("the directory, or a zone, is empty: write it, or leave the quotes out")
		}
		conf.setDir(conf.path(args[0]))
		conf.named = args[1:]
		for _, zone := range conf.named {
			if len(plugin.Host(zone).NormalizeExact()) == 0 {
				return nil, c.Errf("%q is not a zone: write it as a domain name", zone)
			}
		}
		for c.NextBlock() {
			known, ok := options[c.Val()]
			if !ok {
				return nil, c.Errf("unknown option %q: known are %s", c.Val(), strings.Join(optionNames(), ", "))
			}
			option, args := c.Val(), c.RemainingArgs()
			if first, twice := conf.lines[option]; twice && !known.many {
				log.Warningf("%s:%d - option %s: is there twice, and what is said at %s does not count: leave out one of them", c.File(), c.Line(), option, first)
			}
			conf.lines[option] = fmt.Sprintf("%s:%d", c.File(), c.Line())
			if slices.Contains(args, "") {
				return nil, c.Errf("option %s: an argument is empty: write it, or leave the option out", option)
			}
			if err := known.set(conf, arguments{args, conf.path}); err != nil {
				return nil, c.Errf("option %s: %v", option, err)
			}
		}
		err := conf.listZones()
		if err == nil {
			err = conf.check()
		}
		if err != nil {
			return nil, conf.located(err)
		}
	}
	return conf, nil
}
