//! A conversation: its messages, its text, its tokens, and how many of these an engine holds KV for.

use crate::error::{Error, ErrorCode, Result};
use crate::model::Loaded;
use crate::request::{Input, Message, Request};
use crate::text::Rendered;

/// What a session remembers between turns. Text and tokens are the conversation as the model saw it last; they are the
/// session's own, so that evicting KV loses nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conversation {
    messages: Vec<Message>,
    text: String,
    tokens: Vec<u32>,
    /// Bytes of `text` that `tokens` stand for. An answer may end inside a token's text; the rest of it is tokenised with
    /// the next turn.
    tokenised: usize,
    kv_tokens: usize,
    turn: u64,
}

/// A turn that is ready to be priced and run.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    messages: Vec<Message>,
    chat: bool,
    text: String,
    /// The whole conversation with the new input.
    pub(crate) tokens: Vec<u32>,
    /// Leading tokens that are the same as those the engine holds KV for.
    pub(crate) shared_prefix: usize,
    turn: u64,
}

/// What came of a turn.
pub(crate) struct Answer<'a> {
    /// The text that belongs to the conversation: stop strings cut off.
    pub(crate) text: &'a str,
    /// The generated tokens whose text, all together, is `kept_text`.
    pub(crate) kept: &'a [u32],
    /// A prefix of `text`.
    pub(crate) kept_text: &'a str,
    /// Leading tokens of prompt and answer that the engine keeps KV for.
    pub(crate) kv_tokens: usize,
}

impl Conversation {
    /// Turns so far; a ticket is good for one turn only.
    pub(crate) fn turn(&self) -> u64 {
        self.turn
    }

    /// The next turn's tokens: only what the last turn did not have is tokenised.
    ///
    /// # Errors
    /// Of the template and the tokenizer; `PromptTooLong` for text that cannot fit whatever its tokens, before it is
    /// tokenised; `InvalidToken`.
    pub(crate) fn prepare(&self, model: &Loaded, request: &Request) -> Result<Prepared> {
        let mut messages = self.messages.clone();
        let chat = matches!(request.input(), Input::Messages(_));
        let (text, tokens) = match request.input() {
            Input::Messages(new) => {
                messages.extend_from_slice(new);
                let text = model.render(&messages)?;
                let tokens = self.extend(model, &text, false)?;
                (text.into_text(), tokens)
            }
            Input::Text(new) => {
                // What is left of an answer is only text.
                let pending = &self.text[self.tokenised..];
                let (start, before) = (self.tokens.is_empty() && request.add_special, self.tokens.len());
                let more = match request.parse_special {
                    true => model.encode(&model.meant(pending, new), start, before)?,
                    false => model.encode_literal(&[pending, new].concat(), start, before)?,
                };
                ([self.text.as_str(), new].concat(), [self.tokens.as_slice(), &more].concat())
            }
            Input::Tokens(new) => {
                let vocab = model.vocab_size();
                if let Some(id) = new.iter().find(|&&id| id >= vocab) {
                    let text = format!("token {id} is not below the vocabulary's size {vocab}");
                    return Err(Error::new(ErrorCode::InvalidToken, text));
                }
                let pending = &self.text[self.tokenised..];
                let pending = if pending.is_empty() {
                    Vec::new()
                } else {
                    model.encode_literal(pending, false, self.tokens.len())?
                };
                let text = [self.text.as_str(), &model.decode(new)].concat();
                (text, [self.tokens.as_slice(), &pending, new].concat())
            }
        };
        if tokens.is_empty() {
            return Err(Error::new(ErrorCode::EmptyRequest, "the request has no tokens"));
        }
        let shared_prefix = self.in_common(&tokens).min(self.kv_tokens);
        Ok(Prepared { messages, chat, text, tokens, shared_prefix, turn: self.turn })
    }

    fn extend(&self, model: &Loaded, text: &Rendered, start: bool) -> Result<Vec<u32>> {
        let tokenised = &self.text[..self.tokenised];
        if self.tokens.is_empty() || !text.text().starts_with(tokenised) {
            return model.encode(text, start, 0);
        }
        let mut tokens = self.tokens.clone();
        tokens.extend(model.encode(&text.after(tokenised.len()), false, tokens.len())?);
        Ok(tokens)
    }

    /// Leading tokens that are the same.
    fn in_common(&self, tokens: &[u32]) -> usize {
        tokens.iter().zip(&self.tokens).take_while(|(new, old)| new == old).count()
    }

    /// Takes a turn's outcome in. A turn that generated nothing leaves the conversation as it was.
    pub(crate) fn commit(&mut self, prepared: Prepared, answer: &Answer<'_>) {
        self.turn += 1;
        if answer.text.is_empty() && answer.kept.is_empty() {
            self.kv_tokens = self.in_common(&prepared.tokens).min(answer.kv_tokens);
            return;
        }
        let Prepared { mut messages, chat, mut text, mut tokens, .. } = prepared;
        self.tokenised = text.len() + answer.kept_text.len();
        text.push_str(answer.text);
        tokens.extend_from_slice(answer.kept);
        self.kv_tokens = answer.kv_tokens.min(tokens.len());
        if chat {
            messages.push(Message { role: "assistant".into(), content: answer.text.into() });
            self.messages = messages;
        }
        self.text = text;
        self.tokens = tokens;
    }

    /// The engine holds no KV for it any more.
    pub(crate) fn forget_kv(&mut self) {
        self.kv_tokens = 0;
        self.turn += 1;
    }

    /// Starts again with nothing said.
    pub(crate) fn reset(&mut self) {
        *self = Conversation { turn: self.turn + 1, ..Conversation::default() };
    }
}

impl Prepared {
    /// The turn it was prepared for.
    pub(crate) fn turn(&self) -> u64 {
        self.turn
    }
}
