package redlock_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/quorumlock/redlock"

// Whoever imports the library gets the standard library and golang.org/x with
// it, and nothing else.
func TestDependenciesOfTheRootPackage(t *testing.T) {
	for _, dep := range goList(t, "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".") {
		ours := dep == module || dep == module+"/internal/protocol"
		assert.True(t, ours || strings.HasPrefix(dep, "golang.org/x/"), "the root package depends on %s", dep)
	}
	for _, dep := range goList(t, "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./internal/protocol") {
		assert.Equal(t, module+"/internal/protocol", dep)
	}
}

// The arrows of docs/design.md: adapters and tools import the root, never the
// other way round, and never one another but where a tool opens nodes.
func TestImportsPointToTheCore(t *testing.T) {
	may := map[string][]string{
		"":                     {"internal/protocol"},
		"internal/protocol":    {},
		"internal/server":      {},
		"internal/testserver":  {"internal/server"},
		"memnode":              {""},
		"nodetest":             {""},
		"bench":                {}, // tests only
		"redisnode":            {""},
		"mysqlnode":            {""},
		"zknode":               {""},
		"nodeurl":              {"", "memnode", "redisnode", "mysqlnode", "zknode"},
		"internal/demo":        {"", "nodeurl", "redisnode"},
		"internal/quorumbench": {""},
		"sim":                  {"", "internal/protocol"},
		// Real servers are reached through adapters, as users reach them; the rest of
		// sim never sees one.
		"sim/chaos":   {"", "nodeurl", "internal/server", "sim"},
		"cmd/redlock": {"", "nodeurl", "internal/demo", "internal/protocol", "internal/quorumbench", "sim", "sim/chaos"},
	}
	for _, line := range goList(t, "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./...") {
		fields := strings.Fields(line)
		from := strings.TrimPrefix(strings.TrimPrefix(fields[0], module), "/")
		allowed, known := may[from]
		if !assert.True(t, known, "%q is a new package: say in this test what it may import", from) {
			continue
		}
		for _, imported := range fields[1:] {
			if to, ok := strings.CutPrefix(imported, module); ok {
				assert.Contains(t, allowed, strings.TrimPrefix(to, "/"), "imported by %q", from)
			}
		}
	}
}

// Time and chance come from clock.go and from what the user injects, so that
// tests and simulators can put their own in their place.
func TestTimeAndChanceAreInjected(t *testing.T) {
	banned := map[string][]string{
		"time":    {"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep"},
		"context": {"WithTimeout", "WithTimeoutCause", "WithDeadline", "WithDeadlineCause"},
	}
	for file, tree := range shippedFiles(t) {
		if file == "clock.go" || strings.HasPrefix(file, "nodetest/") || strings.HasPrefix(file, "internal/server/") || strings.HasPrefix(file, "internal/testserver/") || strings.HasPrefix(file, "sim/chaos/") {
			continue // nodetest and testserver are for tests on real servers, and the others run real processes, in real time
		}
		for _, imported := range tree.Imports {
			name, err := strconv.Unquote(imported.Path.Value)
			require.NoError(t, err)
			assert.False(t, strings.HasPrefix(name, "math/rand"), "%s imports %s", file, name)
			if name == "crypto/rand" {
				assert.Contains(t, []string{"options.go", "internal/demo/demo.go", "cmd/redlock/bench.go", "redisnode/stream.go"}, file, "crypto/rand is the default of Options.Random, a program's own, and names a connection's channel")
			}
			if name == "testing" {
				t.Errorf("%s imports testing, which would link it into users' programs", file)
			}
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			if call, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := call.X.(*ast.Ident); ok && pkg.Obj == nil && slices.Contains(banned[pkg.Name], call.Sel.Name) {
					t.Errorf("%s uses %s.%s: use redlock.Clock", file, pkg.Name, call.Sel.Name)
				}
			}
			return true
		})
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	packages := map[string]bool{}
	for file, tree := range shippedFiles(t) {
		dir := path.Dir(file)
		packages[dir] = packages[dir] || tree.Doc != nil
		for _, decl := range tree.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && exportedReceiver(d) {
					assert.NotNil(t, d.Doc, "%s: %s", file, d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					undocumented(t, file, d, spec)
				}
			}
		}
	}
	for dir, documented := range packages {
		assert.True(t, documented, "package %s has no documentation", dir)
	}
}

// undocumented reports names of a declaration without a comment of their own, or
// of their group.
func undocumented(t *testing.T, file string, d *ast.GenDecl, spec ast.Spec) {
	t.Helper()
	switch s := spec.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() {
			assert.True(t, s.Doc != nil || d.Doc != nil, "%s: %s", file, s.Name.Name)
		}
	case *ast.ValueSpec:
		for _, name := range s.Names {
			if name.IsExported() {
				assert.True(t, s.Doc != nil || s.Comment != nil || d.Doc != nil, "%s: %s", file, name.Name)
			}
		}
	}
}

// exportedReceiver says that a function is no method, or that of an exported
// type. String and the methods of interfaces of the standard library explain
// themselves only on types that do not leave the package.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	expr := d.Recv.List[0].Type
	if star, ok := expr.(*ast.StarExpr); ok {
		expr = star.X
	}
	ident, ok := expr.(*ast.Ident)
	return !ok || ident.IsExported() && d.Name.Name != "String"
}

// shippedFiles are the module's Go files but for tests.
func shippedFiles(t *testing.T) map[string]*ast.File {
	t.Helper()
	files := map[string]*ast.File{}
	require.NoError(t, filepath.WalkDir(".", func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "testdata" || entry.Name() == "peers" || strings.HasPrefix(entry.Name(), ".") && file != "."):
			return filepath.SkipDir
		case !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		files[filepath.ToSlash(file)] = tree
		return err
	}))
	require.Contains(t, files, "redlock.go")
	return files
}

func goList(t *testing.T, args ...string) []string {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	var trouble strings.Builder // and, on a fresh machine, what is downloaded
	list.Stderr = &trouble
	out, err := list.Output()
	require.NoError(t, err, trouble.String())
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}
