//! Chat templates: Jinja, as Hugging Face's transformers runs it.

mod budget;
mod clock;
mod filters;
mod functions;
mod given;
mod marks;
mod operators;
mod print;
mod provenance;
mod rewrite;
mod source;

use minijinja::machinery::{eval, make_string_output};
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, ErrorKind};
use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::controls::{Controls, Rendered};
use super::error::{TextError, foreign, quoted};
use super::json::Json;
use budget::{Budget, Fault, Limits, Writer};
use marks::Marks;

/// What a rendering may hold, in bytes: some in any case, and a multiple of its input.
const BYTES: u64 = 2 << 20;
const BYTES_PER_BYTE: u64 = 12;

/// Bytes of large strings that it may make: some in any case, and a multiple of its input. A template that adds message
/// after message to one text copies as many times what it ends with as it has messages, and half of that.
const COPIES: u64 = 256 << 20;
const COPIES_PER_BYTE: u64 = 2048;

/// Instructions of a rendering, and more for each message. Templates in use take a few hundred a message.
const FUEL: u64 = 2_000_000;
const FUEL_PER_MESSAGE: u64 = 2_000;

/// Bytes that a rendering may scan: some in any case, and more for each byte of input.
const WORK: u64 = 64 << 20;
const WORK_PER_BYTE: u64 = 128;

/// Macros may call each other so deep, four times over: each call takes about 4 KB of stack.
const RECURSION: usize = 200;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::empty();
    environment.set_recursion_limit(RECURSION);
    environment.set_formatter(|out, state, value| {
        let budget = Budget::of(state)?;
        print::display(&budget, value, &mut Writer::new(&budget, out))
    });
    filters::add(&mut environment);
    functions::add(&mut environment);
    operators::add_all(&mut environment);
    environment
});

/// One turn of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Who speaks: `system`, `user`, `assistant`, ...
    pub role: &'a str,
    /// What is said.
    pub content: &'a str,
}

/// One message of a chat, in either of its forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn<'a> {
    /// A role and a text.
    Text(Message<'a>),
    /// Of [`Json::message`]: with tool calls, say.
    Json(&'a Json),
}

/// What a template renders.
#[derive(Clone, Copy, Debug)]
pub struct Chat<'a> {
    /// The messages, in their order.
    pub turns: &'a [Turn<'a>],
    /// Of [`Json::tools`]: the functions that the model may call. An empty list is not the same as none.
    pub tools: Option<&'a Json>,
    /// Whether the text goes on to where the assistant's answer begins.
    pub add_generation_prompt: bool,
}

impl Chat<'_> {
    /// Bytes that a rendering's limits are in proportion to.
    fn size(&self) -> u64 {
        let texts: usize = self.texts().map(str::len).sum();
        (texts + size_of_val(self.turns)) as u64
    }

    /// All that comes from outside.
    fn texts(&self) -> impl Iterator<Item = &str> {
        let turns = self.turns.iter().flat_map(|turn| match turn {
            Turn::Text(Message { role, content }) => [*role, *content],
            Turn::Json(json) => [json.as_str(), ""],
        });
        turns.chain(self.tools.map(Json::as_str))
    }
}

/// A model's chat template. Immutable: share it between threads.
///
/// A template is not trusted. Whatever it does, a rendering holds at most 8 MiB of heap and 16 times its input (the
/// template, the messages' texts, tools, and the [`Turn`]s themselves), and ends within a number of steps in proportion
/// to the input.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: Box<str>,
    /// For chats with tools.
    tool_use: Option<Box<str>>,
    bos: Option<Box<str>>,
    eos: Option<Box<str>>,
}

impl ChatTemplate {
    /// Takes a template, given the text of the tokens for the beginning and the end (`bos_token`, `eos_token`).
    ///
    /// # Errors
    /// [`TextError::Template`] for a syntax error, [`TextError::TooLarge`] for more than 96 KiB.
    pub fn new(source: &str, bos: Option<&str>, eos: Option<&str>) -> Result<Self, TextError> {
        let source = source::prepare(source)?;
        Ok(ChatTemplate { source, tool_use: None, bos: bos.map(Into::into), eos: eos.map(Into::into) })
    }

    /// Takes a further template, which models name `tool_use`: it renders chats with tools.
    ///
    /// # Errors
    /// As [`ChatTemplate::new`].
    pub fn with_tool_use(mut self, source: &str) -> Result<Self, TextError> {
        self.tool_use = Some(source::prepare(source)?);
        Ok(self)
    }

    /// The text of a conversation; with `add_generation_prompt`, up to where the assistant's answer begins.
    ///
    /// # Errors
    /// As [`ChatTemplate::render_chat`].
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, TextError> {
        let turns: Vec<_> = messages.iter().copied().map(Turn::Text).collect();
        self.render_chat(&Chat { turns: &turns, tools: None, add_generation_prompt })
    }

    /// The text of a chat, with tools or without.
    ///
    /// # Errors
    /// [`TextError::Raised`] if the template refuses the messages, [`TextError::Template`] if it fails,
    /// [`TextError::TemplateLimit`] if it takes too much.
    pub fn render_chat(&self, chat: &Chat) -> Result<String, TextError> {
        self.render_with(chat, None)
    }

    /// As [`ChatTemplate::render_chat_for`], of messages alone.
    ///
    /// # Errors
    /// As [`ChatTemplate::render_chat`].
    pub fn render_for(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        controls: &Controls,
    ) -> Result<Rendered, TextError> {
        let turns: Vec<_> = messages.iter().copied().map(Turn::Text).collect();
        self.render_chat_for(&Chat { turns: &turns, tools: None, add_generation_prompt }, controls)
    }

    /// As [`ChatTemplate::render_chat`], with a memory of what came from the messages and tools: what they spell is no
    /// control token of the conversation. The text is the same, unless the template looks for control tokens in them.
    ///
    /// # Errors
    /// As [`ChatTemplate::render_chat`].
    pub fn render_chat_for(&self, chat: &Chat, controls: &Controls) -> Result<Rendered, TextError> {
        if !chat.texts().any(|text| text.contains(|c| c == '\\' || controls.is_edge(c))) {
            return Ok(Rendered::new(self.render_chat(chat)?, Vec::new()));
        }
        let source = self.source(chat);
        let instructions = rewrite::compile(source)?;
        let own = [Some(source), self.bos.as_deref(), self.eos.as_deref()].into_iter().flatten();
        let taken = own.flat_map(marks::choices).collect();
        provenance::rendered(controls, rewrite::texts(&instructions), taken, |marks| {
            self.render_with(chat, marks)
        })
    }

    fn source(&self, chat: &Chat) -> &str {
        self.tool_use.as_ref().filter(|_| chat.tools.is_some()).unwrap_or(&self.source)
    }

    fn render_with(&self, chat: &Chat, marks: Option<&Marks>) -> Result<String, TextError> {
        let source = self.source(chat);
        // Compiled instructions borrow the source; compiling again takes far less time than evaluating the prompt.
        let instructions = rewrite::compile(source)?;
        let input = chat.size();
        let budget = Budget::new(Limits {
            bytes: BYTES + input * BYTES_PER_BYTE,
            work: WORK + input * WORK_PER_BYTE,
            copies: COPIES + input * COPIES_PER_BYTE,
        });
        let mut environment = ENVIRONMENT.clone();
        environment.set_fuel(Some(FUEL + chat.turns.len() as u64 * FUEL_PER_MESSAGE));

        let read = |error: serde_json::Error| {
            stopped(&budget, &Error::new(ErrorKind::InvalidOperation, error.to_string()))
        };
        let given = given::Read { budget: &budget, marks };
        let turns: Result<Vec<_>, _> = chat.turns.iter().map(|turn| given.message(turn)).collect();
        let tools = chat.tools.map_or_else(|| Ok(Value::from(())), |tools| given.tools(tools));
        let token = |token: &Option<Box<str>>| token.as_deref().map_or(Value::UNDEFINED, Value::from);
        let variables = Value::from_pairs([
            ("messages", Value::from(turns.map_err(read)?)),
            ("add_generation_prompt", Value::from(chat.add_generation_prompt)),
            ("bos_token", token(&self.bos)),
            ("eos_token", token(&self.eos)),
            // transformers passes these even when there are none.
            ("tools", tools.map_err(read)?),
            ("documents", Value::from(())),
            (budget::NAME, Value::from_dyn_object(budget.clone())),
        ]);
        let (mut text, blocks) = (String::new(), BTreeMap::new());
        let mut out = make_string_output(&mut text);
        match eval(&environment, &instructions, variables, &blocks, &mut out, AutoEscape::None) {
            Ok(_) => Ok(text),
            Err(error) => Err(stopped(&budget, &error)),
        }
    }
}

fn stopped(budget: &Budget, error: &Error) -> TextError {
    let (line, out_of_fuel) = rewrite::place(error);
    match budget.fault() {
        Some(Fault::Raised(message)) => TextError::Raised(message),
        Some(Fault::Limit(limit)) => TextError::TemplateLimit { line, limit },
        None if out_of_fuel => TextError::TemplateLimit { line, limit: "steps" },
        None => fault(error),
    }
}

fn fault(error: &Error) -> TextError {
    TextError::Template { line: rewrite::place(error).0, message: foreign(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURNS: [Message; 3] = [
        Message { role: "system", content: "Be \"kind\"\n" },
        Message { role: "user", content: " a</t>b<ü> " },
        Message { role: "assistant", content: "c" },
    ];

    fn render(source: &str) -> String {
        ChatTemplate::new(source, Some("<s>"), None).unwrap().render(&TURNS, true).unwrap()
    }

    /// Expected: what Jinja2 gives, with transformers' settings.
    #[test]
    fn language() {
        for (source, expected) in [
            ("{{ bos_token }}|{{ eos_token }}|{{ tools }}|{{ add_generation_prompt }}", "<s>||None|True"),
            ("{{ 'a' ~ 1 ~ none ~ true ~ 1.5 ~ x }}", "a1NoneTrue1.5"),
            ("{{ 'a' + 'b' * 3 }} {{ 1 + 2 * 3 ** 2 }} {{ 7 // 2 }} {{ -7 % 3 }}", "abbb 19 3 2"),
            ("{{ [1] + [2, 'x'] * 2 }}", "[1, 2, 'x', 2, 'x']"),
            ("{{ ('it\\'s', (1,), {'a': none}) }}", "(\"it's\", (1,), {'a': None})"),
            ("{{ [1, 2.5]|sum(start=1) }} {{ [{'n': 2}]|sum(attribute='n') }}", "4.5 2"),
            ("{{ 1 < 2 < 3 }} {{ 1 < 2 > 3 }} {{ 'a' in 'ab' }} {{ 1 not in [2] }}", "True False True True"),
            (
                "{{ 'abcdef'[1:4] }} {{ 'abc'[::-1] }} {{ [1, 2, 3][-1] }} {{ messages[1:]|length }}",
                "bcd cba 3 2",
            ),
            (
                "{% for m in messages if m.role != 'user' %}{{ loop.index }}{{ m.role[0] }}{% endfor %}",
                "1s2a",
            ),
            (
                "{% for m in messages %}{{ loop.previtem.role if loop.previtem }}{{ ',' if not loop.last }}{% endfor %}",
                ",system,user",
            ),
            (
                "{% for k, v in messages[2].items() %}{{ k }}={{ v }};{% endfor %}",
                "role=assistant;content=c;",
            ),
            ("{{ messages[0]|tojson }}", r#"{"role": "system", "content": "Be \"kind\"\n"}"#),
            (
                "{{ [1, {}, [], {'é<': 1.0}]|tojson(indent=2) }}",
                "[\n  1,\n  {},\n  [],\n  {\n    \"é<\": 1.0\n  }\n]",
            ),
            ("{{ messages[1].content.split('</t>')[-1].strip().upper() }}", "B<Ü>"),
            ("{{ ' a  b c '.split() }} {{ 'a,b,c'.split(',', 1) }}", "['a', 'b', 'c'] ['a', 'b,c']"),
            (
                "{{ 'aaa'.replace('a', 'b', 2) }} {{ 'aa'|replace('a', 'bb') }} {{ ', '.join(['x', 'y']) }}",
                "bba bbbb x, y",
            ),
            ("{{ messages|map(attribute='role')|join('-') }}", "system-user-assistant"),
            ("{{ messages|selectattr('role', 'equalto', 'user')|list|length }}", "1"),
            ("{{ 'a\nb'|indent(2) }}|{{ 'x'|default('y') }}|{{ z|default('y') }}", "a\n  b|x|y"),
            (
                "{% set ns = namespace(n=0) %}{% for i in range(3, 0, -1) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
                "6",
            ),
            (
                "{% macro f(x, y='d') %}[{{ x }}{{ y }}{{ caller() if caller }}]{% endmacro %}{{ f(1) }}{% call f(2, y=3) %}!{% endcall %}",
                "[1d][23!]",
            ),
            (
                "{% set a, b = [1, 2] %}{% set c %}{{ a }}{{ b }}{% endset %}{{ c }}{% filter upper %}x{% endfilter %}",
                "12X",
            ),
            (
                "{% for i in [1, [2, [3]]] recursive %}{{ loop(i) if i is sequence else i }}{% endfor %}",
                "123",
            ),
            (
                "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% elif i > 2 %}{% break %}{% endif %}{{ i }}{% endfor %}",
                "02",
            ),
            ("a\r\n  {% if true %}\r\n  b\r\n  {% endif %}\r\nc\r\n", "a\n  b\nc"),
            (
                "{{ messages[0].get('x', 'y') }}{{ messages[0].get('x') }}{{ 'x' is string and x is not defined }}",
                "yNoneTrue",
            ),
            (
                "{{ {'b': 1, 'a': 2} }} {{ {'b': 1, 'a': 2}|dictsort }} {{ dict(a=1)['a'] }}",
                "{'b': 1, 'a': 2} [('a', 2), ('b', 1)] 1",
            ),
        ] {
            assert_eq!(render(source), expected, "{source}");
        }
    }

    #[test]
    fn errors_tell_the_line() {
        let error =
            |source: &str| ChatTemplate::new(source, None, None).and_then(|t| t.render(&TURNS, false));
        assert!(matches!(error("a\n{% if %}"), Err(TextError::Template { line: 2, .. })));
        assert!(matches!(error("a\n\n{{ 'x' + 1 }}"), Err(TextError::Template { line: 3, .. })));
        assert!(matches!(error("\n{{ 'x'|nothing }}"), Err(TextError::Template { line: 2, .. })));
        assert_eq!(error("{{ raise_exception('no') }}"), Err(TextError::Raised("`no`".into())));
        assert_eq!(
            error("\n{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"),
            Err(TextError::TemplateLimit { line: 2, limit: "steps" })
        );
    }
}
