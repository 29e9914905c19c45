//! A request: what to say, how to choose tokens, when to stop.

use crate::error::{Error, ErrorCode, Result};
use crate::text::{self, Json, MAX_STOP_BYTES, MAX_STOPS, TextError, Turn};
use plimsoll_engine::Sampling;
use std::time::Duration;

/// Most answers that a request may ask for.
pub const MAX_ANSWERS: u32 = 128;

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A text.
    Text {
        /// Who speaks: `system`, `user`, `assistant`, `tool`.
        role: String,
        /// What is said.
        content: String,
    },
    /// Whatever else a chat template can render: tool calls of the assistant, say.
    Json(Json),
}

impl Message {
    /// A message of a text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Message::Text { role: role.into(), content: content.into() }
    }

    /// A message as a JSON object, as OpenAI's chat format has it: `role`, and such fields as `content`, `tool_calls`,
    /// `tool_call_id` and `name`. The model's chat template gets all of them; fields that are null count as absent.
    ///
    /// # Errors
    /// `InvalidArgument` with line and column: what is no JSON object with a `role`, or nests more than 32 deep, or is
    /// longer than 16 MiB.
    pub fn from_json(text: &str) -> Result<Self> {
        Ok(Message::Json(Json::message(text).map_err(invalid)?))
    }

    /// Bytes of heap that it holds. JSON that is shared counts for each who holds it.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Message::Text { role, content } => role.capacity() + content.capacity(),
            Message::Json(json) => json.as_str().len(),
        }
    }

    /// As a template takes it.
    pub(crate) fn turn(&self) -> Turn<'_> {
        match self {
            Message::Text { role, content } => Turn::Text(text::Message { role, content }),
            Message::Json(json) => Turn::Json(json),
        }
    }
}

fn invalid(error: TextError) -> Error {
    Error::caused(ErrorCode::InvalidArgument, &error)
}

/// What a request adds to its session's conversation.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Chat messages, rendered with the whole conversation through the model's chat template.
    Messages(Vec<Message>),
    /// Text appended as it is, without a template.
    Text(String),
    /// Token ids appended as they are.
    Tokens(Vec<u32>),
}

/// A request. It can be used again and again; running it does not change it.
///
/// ```
/// use plimsoll::{Cancel, Ending, Flow, Request};
/// use std::time::Duration;
///
/// # fn main() -> plimsoll::Result<()> {
/// # use plimsoll::{Config, Model, Runtime};
/// # use std::path::Path;
/// # let runtime = Runtime::new(&Config::new())?;
/// # let model = runtime.load_model("demo", Path::new("models/demo"), &Config::new(), &|_| true)?;
/// # let session = plimsoll::Session::open(&model, &Config::new())?;
/// let mut request = Request::user("Hello!");
/// request.max_tokens = 64;
/// request.min_tokens = 16; // fewer are not worth running
/// request.sampling.temperature = 0.7;
/// request.sampling.seed = Some(42);
/// request.deadline = Some(Duration::from_secs(10));
/// request.ignore_eos = true;
/// request.add_stop("\n\n")?;
/// let outcome = session.generate(&request, None, &Cancel::new(), |_| Flow::Continue)?;
/// assert!(outcome.generated_tokens <= 64);
/// assert!(matches!(outcome.ending, Ending::Length | Ending::StopString));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    input: Input,
    /// Most tokens to generate, of each answer.
    pub max_tokens: u32,
    /// How many answers to generate side by side, at most [`MAX_ANSWERS`]: all are granted, or none, and their price is that of one
    /// as often. The conversation goes on with the first; the others are alternatives to it. Each draws with a seed of its
    /// own, see [`Request::seed_of`].
    pub answers: u32,
    /// The fewest granted tokens that are still worth running: the guard may shrink `max_tokens` down to this.
    pub min_tokens: u32,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Generate on after end-of-text tokens.
    pub ignore_eos: bool,
    /// Whether it may be given fewer tokens, and tamer sampling, while memory is under pressure. If not, it is refused then.
    pub degradable: bool,
    /// Whether a text that begins a conversation gets the tokens that the model expects around one, such as that for its
    /// beginning. Messages have no use for it: their template writes these.
    pub add_special: bool,
    /// Whether control tokens written in a text are control tokens. If not, they are spelled out, as they are in messages.
    pub parse_special: bool,
    /// The answer's time limit, from the call that starts it. It counts while the request waits, too.
    pub deadline: Option<Duration>,
    /// How long it may wait for memory before it is refused; zero refuses at once. Requests that wait get theirs in order of
    /// priority, and within one in order of arrival.
    pub wait: Duration,
    /// Its place among those who wait: before all of a lower priority.
    pub priority: i8,
    stop: Vec<String>,
    tools: Option<Json>,
}

impl Default for Request {
    fn default() -> Self {
        Request {
            input: Input::Messages(Vec::new()),
            max_tokens: 512,
            answers: 1,
            min_tokens: 1,
            sampling: Sampling::default(),
            ignore_eos: false,
            degradable: true,
            add_special: true,
            parse_special: true,
            deadline: None,
            wait: Duration::ZERO,
            priority: 0,
            stop: Vec::new(),
            tools: None,
        }
    }
}

impl Request {
    /// A request of one user message.
    pub fn user(content: impl Into<String>) -> Self {
        let mut request = Request::default();
        request.add_message("user", content);
        request
    }

    /// Adds a message; a request that held text or tokens holds messages from then on.
    pub fn add_message(&mut self, role: impl Into<String>, content: impl Into<String>) {
        self.add(Message::new(role, content));
    }

    /// Adds a message of any kind; a request that held text or tokens holds messages from then on.
    pub fn add(&mut self, message: Message) {
        match &mut self.input {
            Input::Messages(messages) => messages.push(message),
            _ => self.input = Input::Messages(vec![message]),
        }
    }

    /// The same, with an error where the system refuses memory.
    #[cfg(feature = "capi")]
    pub(crate) fn try_add(&mut self, message: Message) -> Result<()> {
        if !matches!(self.input, Input::Messages(_)) {
            self.input = Input::Messages(Vec::new());
        }
        if let Input::Messages(messages) = &mut self.input {
            messages
                .try_reserve(1)
                .map_err(|_| Error::no_memory("the system has no memory for one more message"))?;
            messages.push(message);
        }
        Ok(())
    }

    /// Replaces whatever the request holds.
    pub fn set_input(&mut self, input: Input) {
        self.input = input;
    }

    /// What it adds to the conversation.
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// Sets the functions that the model may call: a JSON list of descriptions, as OpenAI's chat format has them, or `None`
    /// for none. The model's chat template renders them with the whole conversation, so give each turn of a session the
    /// same tools, or its KV has to be computed again. A request of text or tokens goes through no template and has no use
    /// for them.
    ///
    /// # Errors
    /// `InvalidArgument` with line and column: what is no JSON list of objects, or nests more than 32 deep, or is longer
    /// than 16 MiB. The request then keeps the tools that it had.
    pub fn set_tools(&mut self, json: Option<&str>) -> Result<()> {
        self.tools = json.map(Json::tools).transpose().map_err(invalid)?;
        Ok(())
    }

    /// The functions that the model may call.
    pub fn tools(&self) -> Option<&Json> {
        self.tools.as_ref()
    }

    /// Adds a text that ends the answer; it is not part of it.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty or too long text, or one too many.
    pub fn add_stop(&mut self, text: impl Into<String>) -> Result<()> {
        let text = text.into();
        if text.is_empty() || text.len() > MAX_STOP_BYTES {
            let limit = format!("a stop string has 1 to {MAX_STOP_BYTES} bytes, this one {}", text.len());
            return Err(Error::new(ErrorCode::InvalidArgument, limit));
        }
        if self.stop.len() == MAX_STOPS {
            let limit = format!("a request has at most {MAX_STOPS} stop strings");
            return Err(Error::new(ErrorCode::InvalidArgument, limit));
        }
        self.stop.push(text);
        Ok(())
    }

    /// How long it may wait for memory: no longer than it may take as a whole.
    pub(crate) fn patience(&self) -> Duration {
        self.deadline.map_or(self.wait, |limit| self.wait.min(limit))
    }

    /// The seed of an answer's draws: the request's for the first, the next number for each after it, 0 after the largest.
    /// So answer `i` is what a request for one answer with the seed `seed + i` gets, unless rounding in another batch chooses a
    /// different token. `None` where the request has no seed: then each draws its own.
    ///
    /// ```
    /// let mut request = plimsoll::Request::user("Hello!");
    /// request.sampling.seed = Some(40);
    /// assert_eq!((request.seed_of(0), request.seed_of(2)), (Some(40), Some(42)));
    /// ```
    pub fn seed_of(&self, answer: u32) -> Option<u64> {
        self.sampling.seed.map(|seed| seed.wrapping_add(answer.into()))
    }

    /// The texts that end the answer.
    pub fn stop(&self) -> &[String] {
        &self.stop
    }

    /// Checks what can be checked without a model.
    ///
    /// # Errors
    /// `EmptyRequest`, or `InvalidArgument` naming the setting.
    pub fn validate(&self) -> Result<()> {
        let empty = match &self.input {
            Input::Messages(messages) => messages.is_empty(),
            Input::Text(text) => text.is_empty(),
            Input::Tokens(tokens) => tokens.is_empty(),
        };
        if empty {
            return Err(Error::new(ErrorCode::EmptyRequest, "a request needs messages, text or tokens"));
        }
        if self.max_tokens == 0 {
            return Err(Error::new(ErrorCode::InvalidArgument, "max_tokens is 0; it must be at least 1"));
        }
        if self.min_tokens == 0 || self.min_tokens > self.max_tokens {
            let text = format!("min_tokens is {}; it must be from 1 to max_tokens", self.min_tokens);
            return Err(Error::new(ErrorCode::InvalidArgument, text));
        }
        if self.answers == 0 || self.answers > MAX_ANSWERS {
            let text = format!("answers is {}; it must be from 1 to {MAX_ANSWERS}", self.answers);
            return Err(Error::new(ErrorCode::InvalidArgument, text));
        }
        self.sampling.validate().map_err(|error| Error::caused(ErrorCode::InvalidArgument, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_that_are_none_leave_the_request_as_it_was() {
        let mut request = Request::user("hello");
        request.set_tools(Some(r#"[{"type": "function"}]"#)).unwrap();
        let before = request.clone();
        for text in ["", "{}", "[1]", "[{}"] {
            let error = request.set_tools(Some(text)).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidArgument);
            assert!(error.to_string().contains("line 1 column"), "{error}");
            assert_eq!(request, before);
        }
        request.set_tools(None).unwrap();
        assert_eq!(request, Request::user("hello"));
        assert!(Message::from_json(r#"{"role": "tool", "content": "21"}"#).is_ok());
        assert_eq!(Message::from_json("{}").unwrap_err().code(), ErrorCode::InvalidArgument);
    }

    #[test]
    fn what_cannot_run_is_refused_before_it_is_priced() {
        assert_eq!(Request::default().validate().unwrap_err().code(), ErrorCode::EmptyRequest);
        let mut request = Request::user("hello");
        assert_eq!(request.validate(), Ok(()));
        request.max_tokens = 0;
        assert_eq!(request.validate().unwrap_err().code(), ErrorCode::InvalidArgument);
        request.max_tokens = 4;
        request.min_tokens = 5;
        assert_eq!(request.validate().unwrap_err().code(), ErrorCode::InvalidArgument);
        assert!(request.add_stop("").is_err());
        assert!(request.add_stop("x".repeat(MAX_STOP_BYTES + 1)).is_err());
        for _ in 0..MAX_STOPS {
            request.add_stop("stop").unwrap();
        }
        assert!(request.add_stop("one too many").is_err());
    }
}
