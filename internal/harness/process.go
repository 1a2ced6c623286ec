package harness

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// ProcessorTime returns for how long this process has used processors: what it costs to
// do something, however much else the machine has to do.
func ProcessorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // which needs another argument
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// A Log keeps what a program says, for reading while it runs.
type Log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// String returns all that was said so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// A Process is a running program.
type Process struct {
	Cmd *exec.Cmd
	Log *Log

	done chan struct{}
	err  error // how it ended; written before done is closed
}

// starter returns the way to a thread that lives as long as this process. A program
// that is to be killed with its parent is killed with the thread that has started it
// (prctl(2), PR_SET_PDEATHSIG), and Go ends threads that goroutines were locked to.
var starter = sync.OnceValue(func() chan<- func() {
	starts := make(chan func())
	go func() {
		runtime.LockOSThread()
		for start := range starts {
			start()
		}
	}()
	return starts
})

// Start starts a program whose output goes to log. With what it starts itself it
// is a process group of its own, and it is killed when this process ends.
func Start(cmd *exec.Cmd, log *Log) (*Process, error) {
	cmd.Stdout, cmd.Stderr = log, log
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pdeathsig = true, syscall.SIGKILL
	started := make(chan error)
	starter() <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", filepath.Base(cmd.Path), err)
	}
	p := &Process{Cmd: cmd, Log: log, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Serve starts a name server and waits until it answers at addr, up to limit.
func Serve(cmd *exec.Cmd, log *Log, addr string, limit time.Duration) (*Process, error) {
	p, err := Start(cmd, log)
	if err != nil {
		return nil, err
	}
	return p, p.Until("it answers", limit, func() bool { return Answers(addr) })
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns how the program has ended. It is for after Done.
func (p *Process) Err() error { return p.err }

// Until waits until cond holds. A program that ends before, or that takes longer
// than limit, is ended, and the error has what it said.
func (p *Process) Until(what string, limit time.Duration, cond func() bool) error {
	if Wait(limit, p.done, cond) {
		return nil
	}
	p.Kill()
	return fmt.Errorf("%s: waited until %s: %v\n%s", filepath.Base(p.Cmd.Path), what, p.err, p.Log)
}

// Kill ends the program at once.
func (p *Process) Kill() {
	syscall.Kill(-p.Cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// Stop asks the program to end, and waits until it has. It is an error if it had
// ended before, or if it does not end within some time.
func (p *Process) Stop() error { return p.End(syscall.SIGTERM) }

// End is Stop by another signal.
func (p *Process) End(signal os.Signal) error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended by itself: %v\n%s", filepath.Base(p.Cmd.Path), p.err, p.Log)
	default:
	}
	p.Cmd.Process.Signal(signal)
	select {
	case <-p.done:
		return nil
	case <-time.After(Patience):
		p.Kill()
		return fmt.Errorf("%s did not end on %v\n%s", filepath.Base(p.Cmd.Path), signal, p.Log)
	}
}
