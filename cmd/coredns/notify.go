package main

import (
	"fmt"
	"os"

	"github.com/coredns/caddy"
	"github.com/coreos/go-systemd/v22/daemon"
)

// tellSystemd has systemd told, if it has started us as a service of Type=notify, when
// the server serves and when it ends (sd_notify(3)). Everything else that starts us
// hears nothing. A reload by SIGUSR1 drops all hooks of caddy, and this one with them:
// systemd knows by then that we serve.
func tellSystemd() {
	caddy.RegisterEventHook("systemd", func(event caddy.EventName, _ any) error {
		state := ""
		switch event {
		case caddy.InstanceStartupEvent:
			state = daemon.SdNotifyReady
		case caddy.ShutdownEvent:
			state = daemon.SdNotifyStopping
		default:
			return nil
		}
		if _, err := daemon.SdNotify(false, state); err != nil {
			fmt.Fprintln(os.Stderr, "coredns: telling systemd:", err)
		}
		return nil
	})
}
