//! Requests that a good model cannot run.

use crate::common::{
    Books, EXACT, PLENTY, Rig, ask, ask_text, ask_tokens, ask_user, at_least, ids, model_folder, run, session,
};
use crate::{alone, assert_error, bounded};
use plimsoll::{
    Cancel, Decision, Ending, Error, ErrorCode, Flow, Input, Message, Model, Reason, Request, Section,
    Session,
};
use std::path::Path;

/// A good model that is given bad requests.
pub(crate) struct Asker {
    pub(crate) rig: Rig,
    pub(crate) model: Model,
    pub(crate) open: Session,
    before: Books,
}

impl Asker {
    pub(crate) fn new(folder: &Path) -> Asker {
        let rig = Rig::new(PLENTY);
        let model = rig.load(folder, EXACT).unwrap();
        let open = session(&model);
        let before = Books::of(&rig.runtime);
        Asker { rig, model, open, before }
    }

    pub(crate) fn golden() -> Asker {
        Asker::new(&model_folder("llama3"))
    }

    /// A request that must fail in every way it can be made, and a good one after it.
    pub(crate) fn refuses(
        &self,
        what: &str,
        request: &Request,
        code: ErrorCode,
        section: Section,
        names: &str,
    ) -> Error {
        let error = bounded(what, size_of_input(request), || {
            self.open.generate(request, None, &Cancel::new(), |_| Flow::Continue).unwrap_err()
        });
        assert_error(what, &error, code, section, names);
        let stream = bounded(what, size_of_input(request), || {
            self.open.stream(request, None, &Cancel::new()).err().unwrap()
        });
        assert_eq!(stream, error, "{what}");
        self.rig.assert_back(&self.before, what);
        // A session that was refused is as good as a new one.
        let good = ask_tokens(&ids(1, 9), 3);
        assert_eq!(run(&self.open, &good).ids, run(&session(&self.model), &good).ids, "{what}");
        self.open.reset().unwrap();
        self.rig.assert_back(&self.before, what);
        self.model.check_integrity().unwrap();
        error
    }
}

fn size_of_input(request: &Request) -> u64 {
    let bytes = match request.input() {
        Input::Messages(messages) => {
            let size = |message: &Message| match message {
                Message::Text { role, content } => role.len() + content.len(),
                Message::Json(json) => json.as_str().len(),
            };
            messages.iter().map(size).sum()
        }
        Input::Text(text) => text.len(),
        Input::Tokens(tokens) => size_of_val(&tokens[..]),
    };
    bytes as u64
}

#[test]
fn requests_that_cannot_run() {
    let _alone = alone();
    let asker = Asker::golden();
    let good = || ask_tokens(&ids(1, 9), 3);
    let with = |change: fn(&mut Request)| {
        let mut request = good();
        change(&mut request);
        request
    };
    use ErrorCode::{EmptyRequest, InvalidArgument, InvalidToken, PromptTooLong};
    let cases = [
        ("no messages", Request::default(), EmptyRequest, "messages"),
        ("no text", ask_text("", 3), EmptyRequest, "text"),
        ("no tokens", ask_tokens(&[], 3), EmptyRequest, "tokens"),
        ("an id beyond the vocabulary", ask_tokens(&[5, 352], 3), InvalidToken, "352"),
        ("the largest id", ask_tokens(&[u32::MAX], 3), InvalidToken, "4294967295"),
        ("as many tokens as the context", ask_tokens(&ids(2, 256), 1), PromptTooLong, "256"),
        ("a million tokens", ask_tokens(&vec![7; 1_000_000], 1), PromptTooLong, "1000000"),
        ("a long text", ask_text(&"a b ".repeat(2000), 1), PromptTooLong, "context 256"),
        ("no tokens asked for", with(|r| r.max_tokens = 0), InvalidArgument, "max_tokens"),
        ("no tokens enough", with(|r| r.min_tokens = 0), InvalidArgument, "min_tokens"),
        ("more at least than at most", with(|r| r.min_tokens = 4), InvalidArgument, "min_tokens"),
        (
            "temperature NaN",
            with(|r| r.sampling.temperature = f32::NAN),
            InvalidArgument,
            "temperature is NaN",
        ),
        (
            "temperature inf",
            with(|r| r.sampling.temperature = f32::INFINITY),
            InvalidArgument,
            "temperature is inf",
        ),
        ("temperature -1", with(|r| r.sampling.temperature = -1.0), InvalidArgument, "temperature is -1"),
        (
            "temperature 1e9",
            with(|r| r.sampling.temperature = 1e9),
            InvalidArgument,
            "temperature is 1000000000",
        ),
        ("top_p 0", with(|r| r.sampling.top_p = 0.0), InvalidArgument, "top_p is 0"),
        ("top_p NaN", with(|r| r.sampling.top_p = f32::NAN), InvalidArgument, "top_p is NaN"),
        ("top_p 1.5", with(|r| r.sampling.top_p = 1.5), InvalidArgument, "top_p is 1.5"),
        ("min_p 2", with(|r| r.sampling.min_p = 2.0), InvalidArgument, "min_p is 2"),
        (
            "repetition_penalty 0",
            with(|r| r.sampling.repetition_penalty = 0.0),
            InvalidArgument,
            "repetition_penalty is 0",
        ),
        (
            "presence_penalty NaN",
            with(|r| r.sampling.presence_penalty = f32::NAN),
            InvalidArgument,
            "presence_penalty is NaN",
        ),
        (
            "frequency_penalty -inf",
            with(|r| r.sampling.frequency_penalty = f32::NEG_INFINITY),
            InvalidArgument,
            "frequency_penalty is -inf",
        ),
        ("top_logprobs 21", with(|r| r.sampling.top_logprobs = 21), InvalidArgument, "top_logprobs is 21"),
        ("top_logprobs max", with(|r| r.sampling.top_logprobs = u32::MAX), InvalidArgument, "top_logprobs"),
    ];
    for (what, request, code, names) in cases {
        asker.refuses(what, &request, code, Section::Request, names);
    }
}

#[test]
fn a_hundred_megabytes_are_refused_before_they_are_tokenised() {
    let _alone = alone();
    let asker = Asker::golden();
    let text = "A ship is loaded. ".repeat(100_000_000 / 18);
    let messages = vec![Message::new("user", text.as_str())];
    for input in [Input::Text(text), Input::Messages(messages)] {
        let what = if matches!(input, Input::Text(_)) { "text" } else { "a message" };
        asker.refuses(what, &ask(input, 1), ErrorCode::PromptTooLong, Section::Request, "context 256");
    }
}

#[test]
fn stop_strings_out_of_bounds() {
    let mut request = Request::user("hello");
    for (text, names) in [(String::new(), "this one 0"), ("x".repeat(1025), "this one 1025")] {
        let error = request.add_stop(text).unwrap_err();
        assert_error("a stop string", &error, ErrorCode::InvalidArgument, Section::Request, names);
    }
    for number in 0..64 {
        request.add_stop(format!("stop {number}")).unwrap();
    }
    let error = request.add_stop("one more").unwrap_err();
    assert_error("too many", &error, ErrorCode::InvalidArgument, Section::Request, "at most 64");
    assert_eq!(request.stop().len(), 64);
}

#[test]
fn more_tokens_than_fit() {
    let _alone = alone();
    let asker = Asker::golden();
    let huge = ask_tokens(&ids(1, 9), u32::MAX);
    let answer = bounded("max_tokens of 2^32 - 1", 0, || run(&asker.open, &huge));
    let verdict = &answer.outcome.verdict;
    assert_eq!((verdict.decision, verdict.reason), (Decision::Shrink, Reason::Context));
    assert_eq!((verdict.asked_tokens, verdict.granted_tokens), (u32::MAX, 256 - 9));
    assert_eq!((answer.ids.len(), answer.outcome.ending), (256 - 9, Ending::Length));
    asker.open.reset().unwrap();

    let enough = at_least(1000, &huge);
    let error =
        asker.refuses("min_tokens of 1000", &enough, ErrorCode::PromptTooLong, Section::Request, "context");
    assert_eq!((error.numbers().fits_tokens, error.numbers().retry_after), (256 - 9, None));
    assert!(!error.is_retryable());

    // The last token that fits.
    let last = run(&asker.open, &ask_tokens(&ids(2, 255), 5));
    assert_eq!((last.ids.len(), last.outcome.verdict.granted_tokens), (1, 1));
}

#[test]
fn empty_content_is_content() {
    let _alone = alone();
    let asker = Asker::golden();
    let mut request = ask_user("", 3);
    assert_eq!(run(&asker.open, &request).ids.len(), 3);
    request.add_message("", "");
    asker.open.reset().unwrap();
    assert_eq!(run(&asker.open, &request).ids.len(), 3);
}
