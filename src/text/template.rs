//! Chat templates.

use super::error::{TextError, foreign};

/// One turn of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Who speaks: `system`, `user`, `assistant`, ...
    pub role: &'a str,
    /// What is said.
    pub content: &'a str,
}

/// A model's chat template, compiled. Immutable: share it between threads.
#[derive(Debug)]
pub struct ChatTemplate {
    env: minijinja::Environment<'static>,
    bos: Option<String>,
    eos: Option<String>,
}

impl ChatTemplate {
    /// Compiles a template, given the text of the tokens for the beginning and the end.
    ///
    /// # Errors
    /// [`TextError::Template`] for a syntax error.
    pub fn new(source: &str, bos: Option<&str>, eos: Option<&str>) -> Result<Self, TextError> {
        let mut env = minijinja::Environment::new();
        let syntax = minijinja::syntax::SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        env.set_syntax(syntax.map_err(fault)?);
        env.set_fuel(Some(2_000_000));
        env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        env.add_template_owned("chat", source.to_owned()).map_err(fault)?;
        Ok(ChatTemplate { env, bos: bos.map(str::to_owned), eos: eos.map(str::to_owned) })
    }

    /// The text of a conversation; with `add_generation_prompt`, up to where the assistant's answer begins.
    ///
    /// # Errors
    /// [`TextError::Template`].
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, TextError> {
        let messages: Vec<_> =
            messages.iter().map(|m| minijinja::context! { role => m.role, content => m.content }).collect();
        let context = minijinja::context! {
            messages, add_generation_prompt, bos_token => self.bos.as_deref(), eos_token => self.eos.as_deref()
        };
        self.env.get_template("chat").and_then(|t| t.render(context)).map_err(fault)
    }
}

fn fault(error: minijinja::Error) -> TextError {
    TextError::Template { line: error.line().unwrap_or(0) as u32, message: foreign(&error) }
}
