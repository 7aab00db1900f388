package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jetwire/jetwire/bench/report"
)

// ticksPerSecond is USER_HZ, in which /proc counts processor time; it is 100 on every architecture that Go runs on.
const ticksPerSecond = 100

// parseStat reads utime and stime from the text of /proc/PID/stat (proc(5), fields 14 and 15).
func parseStat(text []byte) (time.Duration, error) {
	// The second field is the program's name in parentheses, and may hold spaces and parentheses of its own.
	end := bytes.LastIndexByte(text, ')')
	if end < 0 {
		return 0, fmt.Errorf("no program name in %.40q", text)
	}
	fields := bytes.Fields(text[end+1:])
	const utime, stime = 14 - 3, 15 - 3 // the third field is the first one here
	if len(fields) <= stime {
		return 0, fmt.Errorf("only %d fields in %.40q", len(fields)+2, text)
	}
	var ticks uint64
	for _, f := range [][]byte{fields[utime], fields[stime]} {
		n, err := strconv.ParseUint(string(f), 10, 36)
		if err != nil {
			return 0, fmt.Errorf("processor time %q: %w", f, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / ticksPerSecond), nil
}

// parseKilobytes reads the value of a "Name:   123 kB" line, as /proc/PID/status and smaps_rollup have them, in bytes.
func parseKilobytes(text []byte, name string) (int64, error) {
	for line := range bytes.Lines(text) {
		value, ok := bytes.CutPrefix(line, []byte(name+":"))
		if !ok {
			continue
		}
		fields := bytes.Fields(value)
		if len(fields) != 2 || string(fields[1]) != "kB" {
			return 0, fmt.Errorf("%s: cannot read %q", name, value)
		}
		n, err := strconv.ParseInt(string(fields[0]), 10, 52)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		return n << 10, nil
	}
	return 0, fmt.Errorf("no line %s", name)
}

// parseMachine reads the first line of /proc/stat: the time in which the machine's cores worked since it was started.
func parseMachine(text []byte) (time.Duration, error) {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	fields := bytes.Fields(line)
	// proc(5): cpu, user, nice, system, idle, iowait, irq, softirq, steal, and guests, which are counted as users too.
	if len(fields) < 9 || string(fields[0]) != "cpu" {
		return 0, fmt.Errorf("cannot read %.40q", line)
	}
	var ticks uint64
	for i, f := range fields[1:9] {
		n, err := strconv.ParseUint(string(f), 10, 36)
		if err != nil {
			return 0, fmt.Errorf("processor time %q: %w", f, err)
		}
		if i != 3 && i != 4 {
			ticks += n
		}
	}
	return time.Duration(ticks) * (time.Second / ticksPerSecond), nil
}

// machineTime returns what all programs together have used, negative where that cannot be known.
func machineTime() time.Duration {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return -1
	}
	d, err := parseMachine(text)
	if err != nil {
		return -1
	}
	return d
}

// residentSize returns the VmRSS of a process, in bytes.
func residentSize(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return parseKilobytes(text, "VmRSS")
}

// processorTime returns what a process has used, by its clock, or in ticks of /proc where that cannot be read.
func processorTime(pid int) (time.Duration, error) {
	if d, err := cpuClock(pid); err == nil {
		return d, nil
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStat(text)
}

// processFileLimit is how many descriptors a process may have, 0 if that is not to be seen.
func processFileLimit(pid int) int {
	if pid == 0 {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		return 0
	}
	return parseFileLimit(text)
}

// parseFileLimit reads the soft limit of "Max open files" from the text of /proc/PID/limits.
func parseFileLimit(text []byte) int {
	_, rest, _ := bytes.Cut(text, []byte("Max open files"))
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	n, err := strconv.Atoi(string(fields[0]))
	if err != nil {
		return 0 // unlimited
	}
	return n
}

// openFiles is how many descriptors a process has. Since Linux 6.2 the directory's size tells it; to count them one by one takes too long.
func openFiles(pid int) (int64, bool) {
	if pid == 0 {
		return 0, false
	}
	info, err := os.Stat(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil || info.Size() == 0 {
		return 0, false
	}
	return info.Size(), true
}

// kernelTCP is what the kernel holds for all TCP sockets of the machine, buffers of either end in bytes, and how many sockets there are.
func kernelTCP() (memory, sockets report.Figure) {
	text, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return report.Unknown, report.Unknown
	}
	return parseSockstat(text)
}

// parseSockstat reads the line "TCP: inuse 5 orphan 0 tw 0 alloc 7 mem 2"; mem is in pages.
func parseSockstat(text []byte) (memory, sockets report.Figure) {
	memory, sockets = report.Unknown, report.Unknown
	_, rest, _ := bytes.Cut(text, []byte("TCP: "))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	fields := strings.Fields(string(line))
	for i := 0; i+1 < len(fields); i += 2 {
		n, err := strconv.ParseUint(fields[i+1], 10, 40)
		if err != nil {
			continue
		}
		switch fields[i] {
		case "inuse":
			sockets = report.Figure(n)
		case "mem":
			memory = report.Figure(n) * report.Figure(os.Getpagesize())
		}
	}
	return memory, sockets
}

func tcpMemory() report.Figure {
	memory, _ := kernelTCP()
	return memory
}
