package sim

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// docs/safety.md tells of every story and every defence.
func TestSafetyIsDocumented(t *testing.T) {
	data, err := os.ReadFile("../docs/safety.md")
	require.NoError(t, err)
	for _, s := range Scenarios() {
		assert.Contains(t, string(data), "| `"+s.Name+"`: ")
	}
	for _, def := range defences {
		assert.Contains(t, string(data), "| `"+def.name+"` | "+def.text)
	}
	for i := Exclusion; i <= Determinism; i++ {
		assert.Contains(t, string(data), "| "+i.String()+" |")
	}
}
