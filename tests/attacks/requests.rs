//! Requests: P1.

use crate::attack::{Attack, Outcome, spoilt};
use crate::common::{ask_text, ask_tokens, ask_user, ids};
use plimsoll::ErrorCode::{self, EmptyRequest, InvalidArgument, InvalidToken, PromptTooLong};
use plimsoll::{Input, Message, Request};

fn attack(what: impl Into<String>, code: ErrorCode, request: Request) -> Attack {
    Attack::ask("P1", what, code, request, spoilt("llama3", |_| {}))
}

fn with(change: impl Fn(&mut Request)) -> Request {
    let mut request = ask_tokens(&ids(1, 9), 3);
    change(&mut request);
    request
}

/// All of them.
pub(crate) fn all() -> Vec<Attack> {
    let mut attacks = vec![
        attack("max_tokens 0", InvalidArgument, with(|r| r.max_tokens = 0)),
        attack("min_tokens 2^32 - 1", InvalidArgument, with(|r| r.min_tokens = u32::MAX)),
        attack("an empty text", EmptyRequest, ask_text("", 2)),
        attack("no tokens", EmptyRequest, ask_tokens(&[], 2)),
        attack("no messages", EmptyRequest, with(|r| r.set_input(Input::Messages(Vec::new())))),
        attack("an id beyond the vocabulary", InvalidToken, ask_tokens(&[u32::MAX], 2)),
        attack("10,000,000 tokens", PromptTooLong, ask_tokens(&vec![7; 10_000_000], 2)),
        attack("a prompt of 100 MB", PromptTooLong, ask_text(&"^".repeat(100_000_000), 2))
            .but(Outcome::Refused),
        attack("a message of 100 MB", PromptTooLong, ask_user(&"x".repeat(100_000_000), 2))
            .but(Outcome::Refused),
    ];
    let mut nul = attack("NUL bytes", EmptyRequest, ask_text("a\0b\0", 2));
    nul.outcome = Outcome::Harmless;
    attacks.push(nul);
    let many = vec![Message::new("user", "x"); 1_000_000];
    attacks.push(
        attack("a million messages", PromptTooLong, with(|r| r.set_input(Input::Messages(many.clone()))))
            .but(Outcome::Refused),
    );
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0] {
        for (name, set) in [
            ("temperature", (|r, v| r.sampling.temperature = v) as fn(&mut Request, f32)),
            ("top_p", |r, v| r.sampling.top_p = v),
            ("min_p", |r, v| r.sampling.min_p = v),
            ("repetition_penalty", |r, v| r.sampling.repetition_penalty = v),
        ] {
            attacks.push(attack(format!("{name} {value}"), InvalidArgument, with(|r| set(r, value))));
        }
    }
    let mut zero = attack("temperature -0", InvalidArgument, with(|r| r.sampling.temperature = -0.0));
    zero.outcome = Outcome::Harmless;
    attacks.push(zero);
    let mut top_k = attack("top_k 2^32 - 1", InvalidArgument, with(|r| r.sampling.top_k = u32::MAX));
    top_k.outcome = Outcome::Harmless;
    attacks.push(top_k);
    attacks
}
