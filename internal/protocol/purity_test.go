package protocol

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// allowed are the packages of data types, and what of them may be used: the time
// package has a clock as well.
var allowed = map[string][]string{
	"slices":    nil, // all of it
	"math/bits": nil,
	"time":      {"Duration", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour"},
}

// One clock, random number, goroutine or map order in here, and the simulator no
// longer tests what ships.
func TestTheProtocolIsPure(t *testing.T) {
	fset := token.NewFileSet()
	for _, file := range sources(t, fset) {
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			require.Contains(t, allowed, path, "%v", fset.Position(spec.Pos()))
			require.Nil(t, spec.Name, "%v: renamed", fset.Position(spec.Pos()))
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if n == nil {
				return false
			}
			at := fset.Position(n.Pos())
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if pkg, ok := n.X.(*ast.Ident); ok && pkg.Obj == nil && allowed[pkg.Name] != nil {
					require.Contains(t, allowed[pkg.Name], n.Sel.Name, "%v", at)
				}
			case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt, *ast.ChanType:
				t.Errorf("%v: concurrency", at)
			case *ast.MapType:
				t.Errorf("%v: a map, whose order is random", at)
			case *ast.BasicLit:
				if n.Kind == token.FLOAT || n.Kind == token.IMAG {
					t.Errorf("%v: floating point, which rounds differently from machine to machine", at)
				}
			case *ast.Ident:
				if n.Name == "float64" || n.Name == "float32" || n.Name == "println" || n.Name == "print" {
					t.Errorf("%v: %s", at, n.Name)
				}
			}
			return true
		})
	}
}

// Package variables would be shared by all attempts, and by all who simulate
// them.
func TestTheProtocolHasNoPackageVariables(t *testing.T) {
	fset := token.NewFileSet()
	for _, file := range sources(t, fset) {
		for _, decl := range file.Decls {
			if d, ok := decl.(*ast.GenDecl); ok && d.Tok == token.VAR {
				t.Errorf("%v: a package variable", fset.Position(d.Pos()))
			}
		}
	}
}

// Nothing a Clone shares with its original may be written to: of all fields of
// Attempt, only these are references.
func TestCloneKnowsEveryReference(t *testing.T) {
	fset := token.NewFileSet()
	references := map[string]string{}
	for _, file := range sources(t, fset) {
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || spec.Name.Name != "Attempt" && spec.Name.Name != "seat" {
				return true
			}
			for _, field := range spec.Type.(*ast.StructType).Fields.List {
				switch field.Type.(type) {
				case *ast.StarExpr, *ast.ArrayType, *ast.MapType, *ast.InterfaceType, *ast.FuncType:
					for _, name := range field.Names {
						references[spec.Name.Name+"."+name.Name] = types.ExprString(field.Type)
					}
				}
			}
			return true
		})
	}
	require.Equal(t, map[string]string{"Attempt.cfg": "*Config", "Attempt.seats": "[]seat", "Attempt.out": "[]Output"}, references)
}

func sources(t *testing.T, fset *token.FileSet) []*ast.File {
	t.Helper()
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	var files []*ast.File
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			file, err := parser.ParseFile(fset, name, nil, 0)
			require.NoError(t, err)
			files = append(files, file)
		}
	}
	require.NotEmpty(t, files)
	return files
}
