package gateway_test

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/streams/natstest"
)

// The examples of the API's README work, and there is one for each operation.
func TestServerAPIExamples(t *testing.T) {
	readme, err := os.ReadFile("api/README.md")
	if err != nil {
		t.Fatal(err)
	}
	keys := withKeys(t)
	g := start(t, natstest.Run(t), func(o *gateway.Options) {
		keys(o)
		o.Sign = func(g auth.Grant) (string, error) { return auth.Sign(secret, g) }
	})
	shown := map[string]bool{}
	for _, line := range regexp.MustCompile(`(?m)^jw (\w+) '(.*?)'`).FindAllStringSubmatch(string(readme), -1) {
		name, body := line[1], line[2]
		shown[name] = true
		g.conforms(strings.ToUpper(name[:1])+name[1:]+"Request", body)
		if resp, text := g.request(http.MethodPost, "/v1/"+name, body, nil); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", line[0], resp.StatusCode, text)
		}
	}
	for _, name := range []string{"publish", "broadcast", "send", "history", "presence", "subscriptions", "disconnect", "unsubscribe", "token", "revoke", "info", "batch"} {
		if !shown[name] {
			t.Errorf("there is no example of %s", name)
		}
	}
	problem := regexp.MustCompile("(?s)```json\n(.*?)```").FindSubmatch(readme)
	if problem == nil {
		t.Fatal("no problem is shown")
	}
	g.conforms("Problem", string(problem[1]))
}
