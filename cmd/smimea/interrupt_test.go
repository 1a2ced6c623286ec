package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// unmoved is a command that waits as lookup does, and goes on after the first interrupt.
func unmoved() {
	ctx, stop := (&resolverFlags{timeout: time.Minute}).context()
	defer stop()
	fmt.Println("waiting")
	<-ctx.Done()
	// The second one counts once nobody listens any more, which is after ctx.
	for {
		fmt.Println("interrupted")
		<-time.After(10 * time.Millisecond)
	}
}

// TestTwoInterrupts holds that the second interrupt ends the program, whatever it does.
func TestTwoInterrupts(t *testing.T) {
	// Who runs tests in the background has interrupts ignored, and programs inherit that,
	// but from a parent that handles them.
	handled := make(chan os.Signal, 1)
	signal.Notify(handled, os.Interrupt)
	defer signal.Stop(handled)
	c := exec.Command(filepath.Join(commandPath(t, "unmoved"), "unmoved"))
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Process.Kill()
	lines := bufio.NewScanner(out)
	for lines.Scan() { // each line, another interrupt
		if err := c.Process.Signal(os.Interrupt); err != nil {
			break
		}
	}
	c.Wait()
	if status := c.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGINT {
		t.Errorf("it ended with %v; want by the signal", c.ProcessState)
	}
}

// TestInterruptedLookup holds that an interrupt ends a look-up in good order.
func TestInterruptedLookup(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c := exec.Command(filepath.Join(smimeaPath(t), "smimea"), "lookup", "-json", "-timeout", "1h", "-server", silent.Addr().String(), "hugh@example.com")
	var out bytes.Buffer
	c.Stdout = &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Process.Kill()
	if _, err := silent.Accept(); err != nil { // it asks, and gets no answer
		t.Fatal(err)
	}
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	if c.ProcessState.ExitCode() != int(exitTryAgain) || !strings.Contains(out.String(), `"code": "interrupted"`) {
		t.Errorf("it ended with %v; want status 75, before the server had its time:\n%s", c.ProcessState, &out)
	}
}
