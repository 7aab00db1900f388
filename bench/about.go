package bench

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/jetwire/jetwire/bench/report"
)

// describe fills in what the run is measured on.
func (l *Load) describe(r *report.Report) {
	t := l.Target
	r.Server = report.Server{URL: withoutSecrets(t.URL), PID: t.PID}
	if t.PID != 0 {
		r.Server.Args = processArgs(t.PID)
		if len(r.Server.Args) > 0 {
			r.Server.Name = filepath.Base(r.Server.Args[0])
		}
		r.Server.Version = processVersion(t.PID)
	}
	r.Machine.Kernel = firstLine("/proc/sys/kernel/osrelease")
	r.Machine.CPU = procValue("/proc/cpuinfo", "model name")
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		r.Machine.Memory, _ = parseKilobytes(text, "MemTotal")
	}
}

func firstLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return string(line)
}

// procValue is the first "name : value" of a file.
func procValue(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(text) {
		if key, value, ok := bytes.Cut(line, []byte(":")); ok && string(bytes.TrimSpace(key)) == name {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}

// processVersion is what Go wrote into the program of a process: the version, or the commit, and Go's own.
func processVersion(pid int) string {
	info, err := buildinfo.ReadFile(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return ""
	}
	version := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && (version == "" || version == "(devel)") {
			version = s.Value
		}
	}
	return strings.TrimSpace(version + " " + info.GoVersion)
}

// processArgs are the arguments of a process, without what may be secret.
func processArgs(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(text) == 0 {
		return nil
	}
	return redact(strings.Split(strings.TrimRight(string(text), "\x00"), "\x00"))
}

const hidden = "…"

var (
	secretName = regexp.MustCompile(`(?i)key|secret|passw|token|cred|auth|nkey|seed|jwt`)
	userInfo   = regexp.MustCompile(`//[^/@\s]*@`)
	queryValue = regexp.MustCompile(`([?&][^=&\s]*)=[^&\s]*`)
)

// redact hides the values of flags whose names sound secret, and what stands before an @ in an address.
func redact(args []string) []string {
	out := make([]string, len(args))
	hide := false
	for i, arg := range args {
		name, _, joined := strings.Cut(arg, "=")
		flag := strings.HasPrefix(arg, "-") || joined
		switch {
		case hide && !strings.HasPrefix(arg, "-"):
			out[i], hide = hidden, false
		case flag && joined && secretName.MatchString(name):
			out[i], hide = name+"="+hidden, false
		default:
			out[i], hide = withoutSecrets(arg), flag && !joined && secretName.MatchString(name)
		}
	}
	return out
}

// withoutSecrets is an address without its user and the values of its query.
func withoutSecrets(address string) string {
	address = userInfo.ReplaceAllString(address, "//"+hidden+"@")
	return queryValue.ReplaceAllString(address, "$1="+hidden)
}
