//! A conversation: its messages, its text, its tokens, and how many of these an engine holds KV for.

use crate::copied::copied;
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

/// A turn that is ready to be priced and run: what it changes of the conversation, which stays where it is.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    /// The messages that it adds; `None` when it adds text or tokens.
    messages: Option<Vec<Message>>,
    /// The whole text.
    text: String,
    /// Leading tokens of the conversation that stay.
    stay: usize,
    /// The tokens that follow them.
    new: Vec<u32>,
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
        let (text, stay, new) = match request.input() {
            Input::Messages(new) => {
                let text = model.render(self.messages.iter().chain(new), request.tools())?;
                let (stay, new) = self.extend(model, &text, false)?;
                (text.into_text(), stay, new)
            }
            Input::Text(new) => {
                // What is left of an answer is only text.
                let pending = &self.text[self.tokenised..];
                let (start, stay) = (self.tokens.is_empty() && request.add_special, self.tokens.len());
                let more = match request.parse_special {
                    true => model.encode(&model.meant(pending, new), start, stay)?,
                    false => model.encode_literal(&[pending, new].concat(), start, stay)?,
                };
                ([self.text.as_str(), new].concat(), stay, more)
            }
            Input::Tokens(new) => {
                let vocab = model.vocab_size();
                if let Some(id) = new.iter().find(|&&id| id >= vocab) {
                    let text = format!("token {id} is not below the vocabulary's size {vocab}");
                    return Err(Error::new(ErrorCode::InvalidToken, text));
                }
                let pending = &self.text[self.tokenised..];
                let mut tokens = match pending {
                    "" => Vec::new(),
                    _ => model.encode_literal(pending, false, self.tokens.len())?,
                };
                tokens.extend_from_slice(new);
                let text = [self.text.as_str(), &model.decode(new)].concat();
                (text, self.tokens.len(), tokens)
            }
        };
        if stay + new.len() == 0 {
            return Err(Error::new(ErrorCode::EmptyRequest, "the request has no tokens"));
        }
        let messages = match request.input() {
            Input::Messages(new) => Some(new.clone()),
            _ => None,
        };
        let shared_prefix = self.in_common(stay, &new).min(self.kv_tokens);
        Ok(Prepared { messages, text, stay, new, shared_prefix, turn: self.turn })
    }

    /// How many of the conversation's tokens a new text of it keeps, and the tokens that follow them.
    fn extend(&self, model: &Loaded, text: &Rendered, start: bool) -> Result<(usize, Vec<u32>)> {
        let tokenised = &self.text[..self.tokenised];
        if self.tokens.is_empty() || !text.text().starts_with(tokenised) {
            return Ok((0, model.encode(text, start, 0)?));
        }
        let stay = self.tokens.len();
        Ok((stay, model.encode(&text.after(tokenised.len()), false, stay)?))
    }

    /// The prompt of a turn that was prepared for this conversation.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn prompt(&self, prepared: &Prepared) -> Result<Vec<u32>> {
        let stay = &self.tokens[..prepared.stay.min(self.tokens.len())];
        let mut tokens = Vec::new();
        tokens
            .try_reserve_exact(stay.len() + prepared.new.len())
            .map_err(|_| Error::no_memory("the system has no memory for the prompt's tokens"))?;
        tokens.extend_from_slice(stay);
        tokens.extend_from_slice(&prepared.new);
        Ok(tokens)
    }

    /// Leading tokens that are the same when `new` follows the first `stay`.
    fn in_common(&self, stay: usize, new: &[u32]) -> usize {
        let (same, rest) = self.tokens.split_at(stay.min(self.tokens.len()));
        same.len() + new.iter().zip(rest).take_while(|(new, old)| new == old).count()
    }

    /// Takes a turn's outcome in. A turn that generated nothing leaves the conversation as it was.
    ///
    /// # Errors
    /// `OutOfMemory`, with the conversation as it was: all room is made before anything is changed.
    pub(crate) fn commit(&mut self, prepared: Prepared, answer: &Answer<'_>) -> Result<()> {
        let Prepared { messages, mut text, stay, mut new, .. } = prepared;
        if answer.text.is_empty() && answer.kept.is_empty() {
            self.kv_tokens = self.in_common(stay, &new).min(answer.kv_tokens);
            self.turn += 1;
            return Ok(());
        }
        let no_memory = |_| Error::no_memory("the system has no memory for the longer conversation");
        let tokens = stay + new.len() + answer.kept.len();
        self.tokens.try_reserve(tokens.saturating_sub(self.tokens.len())).map_err(no_memory)?;
        text.try_reserve(answer.text.len()).map_err(no_memory)?;
        if let Some(mut messages) = messages {
            self.messages.try_reserve(messages.len() + 1).map_err(no_memory)?;
            let said = Message::new(copied("assistant")?, copied(answer.text)?);
            self.messages.append(&mut messages);
            self.messages.push(said);
        }
        self.tokenised = text.len() + answer.kept_text.len();
        text.push_str(answer.text);
        self.text = text;
        self.tokens.truncate(stay);
        self.tokens.append(&mut new);
        self.tokens.extend_from_slice(answer.kept);
        self.kv_tokens = answer.kv_tokens.min(self.tokens.len());
        self.turn += 1;
        Ok(())
    }

    /// Bytes of heap that it holds.
    pub(crate) fn heap_bytes(&self) -> usize {
        let messages: usize = self.messages.iter().map(Message::heap_bytes).sum();
        self.messages.capacity() * size_of::<Message>()
            + messages
            + self.text.capacity()
            + self.tokens.capacity() * size_of::<u32>()
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
    /// Tokens of the prompt: the whole conversation with the new input.
    pub(crate) fn tokens(&self) -> usize {
        self.stay + self.new.len()
    }

    /// The turn it was prepared for.
    pub(crate) fn turn(&self) -> u64 {
        self.turn
    }
}
