//! One step: which lane feeds what, and who pays when the executor fails.

use crate::pace::{Beside, Pace, Taken};
use crate::running::Running;
use crate::{Lane, StepExecutor};
use plimsoll_engine::EngineError;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Bytes of a panic's message that are passed on.
const MESSAGE_BYTES: usize = 256;

/// Gives every lane its share of the step: lanes that decode come first, with one token each, so that a long prompt does
/// not hold them up; prompts fill what the pace leaves them, those first whose turn came first. Answers what the step takes
/// in; there is no step where that is nothing.
pub(crate) fn compose<E: StepExecutor>(
    lanes: &mut [Lane<E>],
    running: &mut [Running],
    pace: &Pace,
    now: Duration,
) -> Taken {
    let mut taken = Taken::default();
    for (lane, running) in lanes.iter_mut().zip(running.iter_mut()) {
        // A step has room for a token of every lane.
        let decodes = running.decodes() && !running.gives;
        running.feed(lane, usize::from(decodes), now);
        taken.decoding += usize::from(decodes);
    }
    let waiting = running.iter().filter(|running| running.prefills()).count();
    let mut after = None;
    while let Some((turn, next)) = next_turn(running, after) {
        let claims = running.iter().filter(|other| other.has_claim(&running[next])).count();
        let beside = Beside { decoding: taken.decoding, claims, waiting };
        // No prompt makes the step longer than it could alone, whatever those before it may.
        let room = pace.chunk(beside).saturating_sub(taken.prompt);
        let (lane, running) = (&mut lanes[next], &mut running[next]);
        let feed = (lane.tokens.len() - lane.position).min(room);
        taken.full |= feed == room;
        if feed == 0 {
            break;
        }
        running.feed(lane, feed, now);
        taken.prompt += feed;
        after = Some(turn);
    }
    taken
}

/// The lane with a prompt whose turn is the first after this one.
fn next_turn(running: &[Running], after: Option<u64>) -> Option<(u64, usize)> {
    let prompts = running.iter().enumerate().filter(|(_, running)| running.prefills());
    let turns = prompts.map(|(index, running)| (running.turn(), index));
    turns.filter(|(turn, _)| after.is_none_or(|after| *turn > after)).min()
}

/// Runs the composed step and notes each lane's failure in its [`Running`].
///
/// An error fails all that took part. After a panic each lane that took part runs once more, alone, so that one bad
/// request does not take the others with it.
pub(crate) fn run<E: StepExecutor>(executor: &mut E, lanes: &mut [Lane<E>], running: &mut [Running]) {
    let text = match attempt(|| executor.step(lanes)) {
        Ok(()) => return,
        Err(EngineError::Panicked(text)) => text,
        Err(error) => {
            for running in running.iter_mut().filter(|running| running.fed > 0) {
                running.failure = Some(error.clone());
            }
            return;
        }
    };
    log::warn!("a step panicked ({text}); its requests run once more, each alone");
    for (lane, running) in lanes.iter_mut().zip(running.iter_mut()) {
        if running.fed > 0 {
            running.failure = attempt(|| executor.step(std::slice::from_mut(lane))).err();
        }
    }
}

/// Calls the executor; a panic becomes [`EngineError::Panicked`].
pub(crate) fn attempt<T>(call: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    // Whoever fails here loses its lane, so nothing half-written is used again. The executor's own state is what the
    // trait asks it to keep whole.
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|payload| Err(EngineError::Panicked(message(payload.as_ref()))))
}

/// A panic's message, cut at a bounded length.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let whole = (0..=text.len().min(MESSAGE_BYTES)).rev().find(|&at| text.is_char_boundary(at));
    text[..whole.unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_a_bounded_message() {
        let short = attempt::<()>(|| panic!("lane {}", 3));
        assert_eq!(short, Err(EngineError::Panicked("lane 3".into())));
        let long = attempt::<()>(|| std::panic::panic_any("é".repeat(1000) + "x"));
        assert_eq!(long, Err(EngineError::Panicked("é".repeat(MESSAGE_BYTES / 2))));
        let odd = attempt::<()>(|| std::panic::panic_any(7));
        assert_eq!(odd, Err(EngineError::Panicked("no message".into())));
        assert_eq!(attempt(|| Ok(5)), Ok(5));
    }
}
