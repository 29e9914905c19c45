//! Conversations: turns that are checked against a fresh session, and streams read to their end.

use super::Answer;
use super::{EXACT, Rig, Scratch, ask_tokens, run, session};
use plimsoll::{Model, Outcome, Polled, Session, Stream};

/// A golden model whose every token is a word, so that no answer ends inside a character.
pub fn readable(rig: &Rig) -> Model {
    rig.load(Scratch::readable("llama3").path(), EXACT).unwrap()
}

/// What a fresh session answers to the whole conversation.
pub fn afresh(model: &Model, conversation: &[u32], max_tokens: u32) -> Vec<u32> {
    run(&session(model), &ask_tokens(conversation, max_tokens)).ids
}

/// Runs a turn and checks it against a fresh session over `said`, which then grows by the turn.
pub fn turn(open: &Session, said: &mut Vec<u32>, input: &[u32], max_tokens: u32) -> Answer {
    said.extend(input);
    let answer = run(open, &ask_tokens(input, max_tokens));
    assert_eq!(answer.ids, afresh(open.model(), said, max_tokens));
    assert_eq!(answer.outcome.prompt_tokens as usize, said.len());
    said.extend(&answer.ids);
    answer
}

/// Reads a stream to its end.
pub fn finish(stream: &mut Stream) -> (Vec<u32>, Outcome) {
    let mut ids = Vec::new();
    loop {
        match stream.next(None).unwrap() {
            Polled::Event(event) => ids.extend(event.token.map(|token| token.id)),
            Polled::Finished(outcome) => return (ids, outcome),
            Polled::TimedOut => panic!("no timeout was given"),
        }
    }
}
