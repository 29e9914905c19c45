package plimsoll_test

import (
	"strings"
	"testing"

	"plimsoll.example/plimsoll"
)

// Messages as JSON and tools reach the library, and what is wrong with them is said.
func TestToolsAndMessagesAsJSON(t *testing.T) {
	_, model, session := with(t, demo)
	plain, err := model.RenderRequest(plimsoll.Ask("Hello!"))
	noError(t, err)
	asJSON := &plimsoll.Request{Messages: []plimsoll.Message{
		{JSON: `{"role": "user", "content": "Hello!", "name": "somebody"}`},
	}}
	rendered, err := model.RenderRequest(asJSON)
	noError(t, err)
	equal(t, "the same message as JSON", rendered, plain)
	result, err := session.Generate(background, asJSON, nil)
	noError(t, err)
	if !strings.HasPrefix(result.Text, "Hello!") {
		t.Errorf("the answer is %q", result.Text)
	}
	request := plimsoll.Ask("Hello!")
	request.Tools = `[{"type": "function", "function": {"name": "look", "parameters": {}}}]`
	_, err = model.RenderRequest(request)
	noError(t, err)
	for name, change := range map[string]func(*plimsoll.Request){
		"no list": func(r *plimsoll.Request) { r.Tools = `{}` },
		"no JSON": func(r *plimsoll.Request) { r.Tools = `[` },
		"no role": func(r *plimsoll.Request) { r.Messages[0] = plimsoll.Message{JSON: `{}`} },
	} {
		request := plimsoll.Ask("Hello!")
		change(request)
		if _, err := model.RenderRequest(request); err == nil {
			t.Errorf("%s is no error", name)
		} else {
			wantError(t, err, plimsoll.ErrInvalidArgument)
		}
	}
	_, err = model.Render(asJSON.Messages) // which takes texts only
	wantError(t, err, plimsoll.ErrInvalidArgument)
	_, err = model.RenderRequest(&plimsoll.Request{Text: "hello"})
	wantError(t, err, plimsoll.ErrInvalidArgument)
}
