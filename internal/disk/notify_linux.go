package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A notifier is an inotify instance (inotify(7)). We read the events ourselves:
// fsnotify keeps its watches by path, and has come to a nil dereference in its own
// goroutine where two paths lead to one directory. The kernel keeps them by
// directory, and so do we.
type notifier struct {
	file *os.File
	buf  [64 << 10]byte
}

func newNotifier() (Notifier, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if errors.Is(err, unix.EMFILE) {
		return nil, fmt.Errorf("inotify: %w, or fs.inotify.max_user_instances is reached: raise it", err)
	}
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	return &notifier{file: os.NewFile(uintptr(fd), "inotify")}, nil
}

// heard are the changes that say something of a certificate file or a directory.
const heard = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_ONLYDIR

func (n *notifier) Add(path string) (watch int, err error) {
	if len(path) >= maxPath {
		dir, err := openPath(path, unix.O_DIRECTORY)
		if err != nil {
			return 0, err
		}
		defer dir.Close()
		return throughFD(dir, n.Add)
	}
	cerr := n.control(func(fd int) { watch, err = unix.InotifyAddWatch(fd, path, heard) })
	if cerr != nil {
		return 0, cerr
	}
	if errors.Is(err, unix.ENOSPC) {
		return 0, errors.New("the system has no inotify watches left: raise fs.inotify.max_user_watches")
	}
	if err != nil {
		return 0, &os.PathError{Op: "inotify_add_watch", Path: path, Err: err}
	}
	return watch, nil
}

func (n *notifier) Remove(watch int) {
	// That the directory is gone, and its watch with it, is no error.
	_ = n.control(func(fd int) { _, _ = unix.InotifyRmWatch(fd, uint32(watch)) })
}

// control uses the descriptor, which is still ours as long as that takes.
func (n *notifier) control(use func(fd int)) error {
	conn, err := n.file.SyscallConn()
	if err != nil {
		return err
	}
	return conn.Control(func(fd uintptr) { use(int(fd)) })
}

func (n *notifier) Read() ([]Event, error) {
	size, err := n.file.Read(n.buf[:])
	if err != nil {
		return nil, err
	}
	return parseEvents(n.buf[:size]), nil
}

// parseEvents reads what the kernel has written: struct inotify_event, each with
// a name that is filled up with zeros.
func parseEvents(b []byte) (events []Event) {
	for len(b) >= unix.SizeofInotifyEvent {
		watch, mask, size := int32(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[12:])
		b = b[unix.SizeofInotifyEvent:]
		if uint64(size) > uint64(len(b)) {
			break // the kernel writes whole events only
		}
		events = append(events, Event{
			Watch: int(watch),
			Name:  strings.TrimRight(string(b[:size]), "\x00"),
			New:   mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0,
			Gone:  mask&(unix.IN_DELETE|unix.IN_MOVED_FROM|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_UNMOUNT) != 0,
			Dir:   mask&unix.IN_ISDIR != 0,
			Ended: mask&unix.IN_IGNORED != 0,
			Lost:  mask&unix.IN_Q_OVERFLOW != 0,
		})
		b = b[size:]
	}
	return events
}

func (n *notifier) Close() error { return n.file.Close() }
