package nodetest_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/quorumlock/redlock/nodetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRulesAreTheContracts compares what failures quote with what node.go says.
func TestRulesAreTheContracts(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../node.go", nil, parser.ParseComments)
	require.NoError(t, err)
	docs := make(map[string]bool)
	var contract string
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GenDecl:
			docs[plain(n.Doc.Text())] = true
			for _, spec := range n.Specs {
				if s, ok := spec.(*ast.TypeSpec); ok && s.Name.Name == "Node" {
					contract = n.Doc.Text()
				}
			}
		case *ast.Field:
			docs[plain(n.Doc.Text())] = true
		}
		return true
	})

	// The rules are the numbered paragraphs; the first that is not indented
	// ends them.
	numbered := regexp.MustCompile(`(?m)^ *[0-9]+\. `).Split(contract, -1)
	require.Greater(t, len(numbered), 1)
	numbered = numbered[1:]
	var rest string
	numbered[len(numbered)-1], rest, _ = strings.Cut(numbered[len(numbered)-1], "\n\n")
	docs[plain(rest)] = true

	names, texts := nodetest.Rules()
	for i, rule := range numbered {
		assert.Equal(t, plain(rule), texts[i], names[i])
		assert.Regexp(t, "^"+string(rune('1'+i))+"_", names[i])
	}
	for i := len(numbered); i < len(texts); i++ {
		assert.True(t, docs[texts[i]], "%s: no documentation in node.go reads: %s", names[i], texts[i])
	}
}

var link = regexp.MustCompile(`\[([A-Z][\w.]*)\]`)

// plain is a text without line breaks and the brackets of links.
func plain(doc string) string {
	return link.ReplaceAllString(strings.Join(strings.Fields(doc), " "), "$1")
}
