package plugin

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	clog "github.com/coredns/coredns/plugin/pkg/log"

	"coredns-smimea/plugin/internal/certhost"
	"coredns-smimea/plugin/internal/lane"
)

const name = "smimea"

var log = clog.NewWithPlugin(name)

func init() { plugin.Register(name, setup) }

func setup(c *caddy.Controller) error {
	conf, err := parse(c)
	if err != nil {
		return plugin.Error(name, err)
	}
	life := newLife(c)
	s := &SMIMEA{config: conf, server: dnsserver.GetConfig(c), life: life}
	if conf.host.dns01 {
		if life.challenged == nil {
			// Before our own, which denies what is not there.
			dnsserver.AddPluginToAllServerBlocks(c, func(next plugin.Handler) plugin.Handler {
				return challengeHandler{next, life}
			})
		}
		for _, domain := range conf.host.acme.Domains {
			life.challenged = append(life.challenged, challengeName(domain))
		}
	}
	s.server.AddPlugin(func(next plugin.Handler) plugin.Handler {
		s.Next = next
		return s
	})
	life.lanes.hook(c)
	c.OnStartup(func() error {
		if err := s.start(life); err != nil {
			return plugin.Error(name, fmt.Errorf("%s - %w", conf.where, err))
		}
		life.lanes.expect(s)
		return nil
	})
	c.OnRestartFailed(func() error {
		life.failed()
		lane.Abandon()
		certhost.ReleaseOthers(life)
		return nil
	})
	// An error here would stop a reload half-way.
	c.OnShutdown(func() error { s.stop(); return nil })
	return nil
}

// parse reads the directive. It starts nothing.
func parse(c *caddy.Controller) (*config, error) {
	conf := defaults()
	root := dnsserver.GetConfig(c).Root
	path := func(p string) string {
		if !filepath.IsAbs(p) && root != "" {
			return filepath.Join(root, p)
		}
		return p
	}
	for i := 0; c.Next(); i++ {
		if i > 0 {
			return nil, c.Err("a second smimea in this server block: one serves several zones, and a block of its own another directory")
		}
		conf.where = fmt.Sprintf("%s:%d", c.File(), c.Line())
		args := c.RemainingArgs()
		if len(args) == 0 {
			return nil, c.Err("the directory is missing: smimea DIR [ZONES...]")
		}
		conf.dir = path(args[0])
		for _, zone := range args[1:] {
			if len(plugin.Host(zone).NormalizeExact()) == 0 {
				return nil, c.Errf("%q is not a zone: write it as a domain name", zone)
			}
		}
		// One zone on two ports is one zone.
		for _, origin := range plugin.OriginsFromArgsOrServerBlock(args[1:], c.ServerBlockKeys) {
			if !slices.Contains(conf.origins, origin) {
				conf.origins = append(conf.origins, origin)
			}
		}
		for c.NextBlock() {
			option, args := c.Val(), c.RemainingArgs()
			parse, ok := options[option]
			if !ok {
				return nil, c.Errf("unknown option %q: known are %s", option, optionNames())
			}
			if err := parse(conf, args, path); err != nil {
				return nil, c.Errf("option %s: %v", option, err)
			}
		}
		err := conf.list(args[1:], c.ServerBlockKeys)
		if err == nil {
			err = conf.check()
		}
		if err == nil {
			err = conf.host.check(root)
		}
		for _, address := range []string{conf.host.https, conf.host.http} {
			if err == nil {
				err = checkDoH(c, address)
			}
		}
		if err != nil {
			return nil, c.Err(err.Error())
		}
	}
	return conf, nil
}
