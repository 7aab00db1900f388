package gateway_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/jetwire/jetwire/"

// rule says what a package may import of this module. Packages are named without the module's path; a name that ends
// in "/..." covers what is below it, too.
type rule struct {
	pkg    string
	may    []string
	reason string
}

var rules = []rule{
	{"gateway/wire", nil, "it is vocabulary: servers, clients and load generators share it"},
	{"gateway/poll", nil, "it knows readiness, and nothing of what the descriptors carry"},
	{"gateway/wsock", nil, "it knows RFC 6455, and nothing of what messages say"},
	{"streams/link", nil, "it knows connections, and nothing of what they carry"},
	{"streams", []string{"streams/index", "streams/link", "streams/origin", "streams/puback", "streams/refusal", "streams/tap"}, "the log is the domain: adapters import it, it imports none"},
	{"streams/tap", nil, "it knows NATS's protocol, and nothing of what messages say"},
	{"streams/index", nil, "an index of sequences needs to know nothing"},
	{"streams/origin", nil, "who sent a message, and nothing of what it is for"},
	{"streams/commands", []string{"streams/dead", "streams/link", "streams/origin", "streams/puback", "streams/refusal", "streams/requests"}, "commands and calls are NATS's; who may send them is not its concern"},
	{"streams/dead", nil, "a stream of dead letters needs to know nothing of what they are of"},
	{"streams/refusal", nil, "JetStream's codes, and nothing of what was refused"},
	{"streams/puback", nil, "JetStream's answers, and nothing of what was stored"},
	{"streams/requests", []string{"streams/link"}, "it knows where answers come, and nothing of what they say"},
	{"streams/devices", []string{"streams/link", "streams/puback", "streams/refusal", "streams/requests"}, "a store of positions needs to know nothing of what they are of"},
	{"streams/cluster", []string{"streams/link"}, "who is there, and nothing of what they say to each other"},
	{"streams/access", []string{"streams/link", "streams/refusal"}, "a store of tickets and revocations needs to know nothing of what they say"},
	{"streams/events", []string{"streams/link"}, "what happens to connections is stored without knowing what they are"},
	{"streams/cursor", []string{"streams/refusal"}, "a position in a stream needs to know nothing of what is read"},
	{"streams/natstest", nil, "it is a NATS server, for anybody's tests"},
	{"gateway/auth", []string{"gateway/wire"}, "patterns are the protocol's; tokens know no connection"},
	{"gateway/transport", []string{"gateway/poll", "gateway/wire", "gateway/wsock"}, "sockets know no commands, channels or users"},
	{"gateway/callout", []string{"gateway/auth", "gateway/webhook", "gateway/wire"}, "it asks about users, operations and channels by name; requests are signed as webhooks are"},
	{"gateway/limit", nil, "counting needs to know nothing of what is counted"},
	{"gateway/hub", []string{"streams"}, "cursors know logs and frames; not sockets, sessions or the protocol"},
	{"gateway/session", []string{"gateway/auth", "gateway/wire"}, "a session sees no socket, no hub and no NATS"},
	{"gateway/unified", []string{"gateway/api", "gateway/auth", "gateway/wire", "gateway/wsock"}, "a translator knows two languages, and none of those who speak them; errors have one shape over HTTP"},
	{"gateway/client", []string{"gateway/wire"}, "a client carries nothing of a server"},
	{"gateway/api", []string{"gateway/auth", "gateway/wire"}, "operations know requests and replies; the gateway does what they ask for"},
	{"gateway/api/service", []string{"gateway/api", "gateway/auth", "gateway/wire", "streams/link"}, "the operations over NATS; it knows their names only"},
	{"gateway/webhook", nil, "it knows HTTP and time; where events come from is not its concern"},
	{"gateway/console", nil, "the page is a user of the protocol like any other"},
	{"gateway", []string{"gateway/api", "gateway/api/service", "gateway/auth", "gateway/callout", "gateway/hub", "gateway/limit", "gateway/session", "gateway/transport", "gateway/unified", "gateway/webhook", "gateway/wire", "gateway/wsock", "streams", "streams/access", "streams/cluster", "streams/commands", "streams/cursor", "streams/dead", "streams/devices", "streams/events", "streams/link", "streams/origin"},
		"it joins the parts; the page is handed to it"},
	{"bench/...", []string{"bench/...", "gateway/client", "gateway/poll", "gateway/wire", "gateway/wsock"},
		"load numbers must cover what users run; framing is shared with the gateway, the rest is not"},
	{"cmd/...", []string{"bench/...", "cmd/...", "gateway/...", "streams/...", "presence/..."}, "programs wire everything, and nothing imports them"},
}

// TestImports holds the architecture: who may import whom. A new package needs a rule here, with its reason.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		check(t, strings.TrimPrefix(p.ImportPath, module), p.Imports)
	}
}

func check(t *testing.T, pkg string, imports []string) {
	t.Helper()
	var r *rule
	for i := range rules {
		if covers(rules[i].pkg, pkg) {
			r = &rules[i]
		}
	}
	if r == nil {
		t.Errorf("%s has no rule: say what it may import, and why", pkg)
		return
	}
	for _, imported := range imports {
		name, ours := strings.CutPrefix(imported, module)
		allowed := !ours
		for _, may := range r.may {
			allowed = allowed || covers(may, name)
		}
		if !allowed {
			t.Errorf("%s imports %s: %s", pkg, name, r.reason)
		}
	}
}

func covers(pattern, pkg string) bool {
	parent, below := strings.CutSuffix(pattern, "/...")
	return pkg == parent || below && strings.HasPrefix(pkg, parent+"/")
}
