package plimsoll

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestCompatible(t *testing.T) {
	for _, c := range []struct {
		linked, header int
		fits           bool
	}{{1, 1, true}, {2, 1, true}, {1, 2, false}} {
		if err := compatible(c.linked, c.header); (err == nil) != c.fits {
			t.Errorf("library %d, header %d: %v", c.linked, c.header, err)
		}
	}
	if err := compatible(1, 2); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
}

// Every error code of the header has a name here.
func TestEveryCodeHasAName(t *testing.T) {
	header, err := os.ReadFile("../../../include/plimsoll.h")
	if err != nil {
		t.Fatal(err)
	}
	codes := regexp.MustCompile(`#define PLIMSOLL_ERR_[A-Z0-9_]+ [0-9]+`).FindAll(header, -1)
	if len(codes) != len(codeNames) || len(codes) < 20 {
		t.Errorf("%d codes in the header, %d here", len(codes), len(codeNames))
	}
	sections := regexp.MustCompile(`#define PLIMSOLL_SECTION_[A-Z]+ [0-9]+`).FindAll(header, -1)
	if len(sections) != len(sectionNames) {
		t.Errorf("%d sections in the header, %d here", len(sections), len(sectionNames))
	}
}

func TestTimesThatGoHasNoRoomFor(t *testing.T) {
	if millis(-1) >= 0 || millis(1500) != 1500*time.Millisecond || millis(1<<62) != 1<<63-1 {
		t.Error(millis(-1), millis(1500), millis(1<<62))
	}
	if micros(1500) != 1500*time.Microsecond || micros(1<<63) != 1<<63-1 {
		t.Error(micros(1500), micros(1<<63))
	}
}

// Everything that the package exports has a comment.
func TestEverythingIsDocumented(t *testing.T) {
	packages, err := parser.ParseDir(token.NewFileSet(), ".", func(f os.FileInfo) bool {
		return !strings.HasSuffix(f.Name(), "_test.go")
	}, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	exported := 0
	check := func(name *ast.Ident, comments ...*ast.CommentGroup) {
		if !name.IsExported() {
			return
		}
		exported++
		for _, comment := range comments {
			if comment.Text() != "" {
				return
			}
		}
		t.Errorf("%s has no comment", name)
	}
	for _, file := range packages["plimsoll"].Files {
		for _, decl := range file.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				check(decl.Name, decl.Doc)
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						check(spec.Name, spec.Doc, decl.Doc)
					case *ast.ValueSpec:
						for _, name := range spec.Names {
							check(name, spec.Doc, spec.Comment, decl.Doc)
						}
					}
				}
			}
		}
	}
	if exported < 100 {
		t.Errorf("only %d names", exported)
	}
}
