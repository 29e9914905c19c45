//! Loads of models that were unloaded, against those who count on them: who stops a load stops it for itself alone, nobody shares
//! an old failure, and nobody waits for itself or beyond its own end.

#![cfg(feature = "native")]
#![allow(clippy::unwrap_used)]

mod common;

use common::{Books, PLENTY, Rig, Scratch, ask_tokens, config, eventually, ids, run, session};
use plimsoll::{Cancel, Ending, ErrorCode, Flow, Model, Outcome, Request, Result, Session, Ticket};
use plimsoll_engine::{LoadState, Progress};
use std::cell::RefCell;
use std::sync::mpsc::channel;
use std::time::Duration;

const IDLE: &[(&str, &str)] = &[("model.unload", "idle"), ("native.kv_type", "f32"), ("native.threads", "1")];

fn request() -> Request {
    ask_tokens(&ids(1, 40).into_iter().map(|id| id % 264).collect::<Vec<_>>(), 12)
}

/// A model that is not loaded, and what its request should answer.
struct World {
    rig: Rig,
    folder: Scratch,
    model: Model,
    open: Session,
    expected: Vec<u32>,
    unloaded: Books,
}

impl World {
    fn new() -> World {
        let (rig, folder) = (Rig::new(PLENTY), Scratch::model("llama3"));
        let model = rig.load(folder.path(), IDLE).unwrap();
        let open = session(&model);
        let expected = run(&open, &request()).ids;
        open.reset().unwrap();
        model.unload().unwrap();
        let unloaded = Books::of(&rig.runtime);
        World { rig, folder, model, open, expected, unloaded }
    }

    fn load(&self, progress: &dyn Fn(&Progress) -> bool) -> Result<Model> {
        self.rig.runtime.load_model("again", self.folder.path(), &config(IDLE), progress)
    }

    fn ticket(&self) -> Ticket {
        self.open.admit(&request()).unwrap().1.unwrap()
    }

    /// Runs what was granted.
    fn runs(&self, ticket: Option<&Ticket>) {
        let ids = RefCell::new(Vec::new());
        let outcome = self.open.generate(&request(), ticket, &Cancel::new(), |event| {
            ids.borrow_mut().extend(event.token.map(|token| token.id));
            Flow::Continue
        });
        assert_eq!(outcome.unwrap().ending, Ending::Length);
        assert_eq!(ids.into_inner(), self.expected);
        self.open.reset().unwrap();
        eventually("the books settle", || self.model.check_integrity().is_ok());
    }

    fn is_out(&self) {
        assert!(!self.model.is_loaded());
        self.rig.assert_back(&self.unloaded, "nothing is loaded");
    }
}

fn code(result: Result<Model>) -> ErrorCode {
    result.err().unwrap().code()
}

#[test]
fn who_stops_a_load_stops_it_for_nobody_else() {
    let world = World::new();
    // A load that nobody else needs is over, and says nothing to those who come after.
    assert_eq!(code(world.load(&|_| false)), ErrorCode::LoadCancelled);
    world.is_out();
    world.runs(None);
    world.model.unload().unwrap();

    // A ticket has booked the model before.
    let ticket = world.ticket();
    let states = RefCell::new(Vec::new());
    let stopped = world.load(&|progress| {
        states.borrow_mut().push(progress.state);
        false
    });
    assert_eq!(code(stopped), ErrorCode::LoadCancelled);
    assert_eq!(states.into_inner(), [LoadState::Queued], "who said no hears no more");
    assert!(world.model.is_loaded(), "the ticket needs it");
    world.runs(Some(&ticket));
    world.model.unload().unwrap();

    // A ticket comes while the load is under way, and books nothing.
    let granted = RefCell::new(None);
    let stopped = world.load(&|_| {
        granted.borrow_mut().get_or_insert_with(|| world.ticket());
        false
    });
    assert_eq!(code(stopped), ErrorCode::LoadCancelled);
    assert!(world.model.is_loaded());
    world.runs(granted.into_inner().as_ref());
    world.model.unload().unwrap();

    // One that is thrown away needs nothing any more.
    let ticket = RefCell::new(Some(world.ticket()));
    let stopped = world.load(&|progress| {
        assert!(progress.state == LoadState::Queued || progress.state == LoadState::Failed);
        ticket.borrow_mut().take();
        false
    });
    assert_eq!(code(stopped), ErrorCode::LoadCancelled);
    world.is_out();
}

#[test]
fn what_was_granted_during_a_load_that_failed_is_tried_again() {
    let world = World::new();
    let (weights, away) = (world.folder.file("model.safetensors"), world.folder.file("away"));
    let granted = RefCell::new(None);
    let failed = world.load(&|_| {
        if granted.borrow().is_none() {
            *granted.borrow_mut() = Some(world.ticket());
            std::fs::rename(&weights, &away).unwrap();
        }
        true
    });
    assert_eq!(code(failed), ErrorCode::ModelNotFound);
    assert!(!world.model.is_loaded());
    std::fs::rename(&away, &weights).unwrap();
    world.runs(granted.into_inner().as_ref());
    assert!(world.model.is_loaded());
}

#[test]
fn a_progress_callback_that_needs_its_own_model_is_refused() {
    let world = World::new();
    let check = |progress: &Progress| {
        if progress.state == LoadState::Reading {
            let run = world.open.generate(&request(), None, &Cancel::new(), |_| Flow::Continue);
            assert_eq!(run.unwrap_err().code(), ErrorCode::Reentrant);
            assert_eq!(code(world.load(&|_| true)), ErrorCode::Reentrant);
            assert_eq!(world.model.unload().unwrap_err().code(), ErrorCode::Busy);
        }
        true
    };
    drop(world.load(&check).unwrap());
    world.runs(None);

    // So is one of the first load, which may use others.
    let (rig, folder) = (Rig::new(PLENTY), Scratch::model("llama3"));
    let seen = RefCell::new(0);
    let first = rig.runtime.load_model("first", folder.path(), &config(IDLE), &|_| {
        *seen.borrow_mut() += 1;
        assert_eq!(code(rig.load(folder.path(), IDLE)), ErrorCode::Reentrant);
        let other = rig.golden("llama3");
        run(&session(&other), &request());
        true
    });
    assert!(first.is_ok() && seen.into_inner() > 1);
}

#[test]
fn a_request_that_is_over_loads_nothing() {
    let world = World::new();
    let cancel = Cancel::new();
    cancel.cancel();
    let outcome: Outcome = world.open.generate(&request(), None, &cancel, |_| Flow::Continue).unwrap();
    assert_eq!((outcome.ending, outcome.generated_tokens), (Ending::Cancelled, 0));
    world.is_out();
    let mut two = request();
    two.answers = 2;
    let outcome = world.open.generate(&two, None, &cancel, |_| Flow::Continue).unwrap();
    assert!(outcome.answers().all(|answer| answer.ending == Ending::Cancelled));
    world.is_out();

    // Another's ticket needs the load, whoever does it.
    let other = session(&world.model);
    let ticket = other.admit(&request()).unwrap().1.unwrap();
    let outcome = world.open.generate(&request(), None, &cancel, |_| Flow::Continue).unwrap();
    assert_eq!(outcome.ending, Ending::Cancelled);
    assert!(world.model.is_loaded());
    other.generate(&request(), Some(&ticket), &Cancel::new(), |_| Flow::Continue).unwrap();
}

#[test]
fn a_request_that_is_over_does_not_wait_for_anothers_load() {
    let world = World::new();
    let ((begun, begins), (end, ends)) = (channel(), channel::<()>());
    std::thread::scope(|scope| {
        let (rig, folder) = (&world.rig, world.folder.path());
        let loads = scope.spawn(move || {
            let once = RefCell::new(Some((begun, ends)));
            rig.runtime.load_model("slow", folder, &config(IDLE), &|_| {
                if let Some((begun, ends)) = once.borrow_mut().take() {
                    begun.send(()).unwrap();
                    ends.recv().unwrap();
                }
                true
            })
        });
        begins.recv().unwrap();
        let mut late = request();
        late.deadline = Some(Duration::from_secs(5));
        let open = &world.open;
        let waits = scope.spawn(move || open.generate(&late, None, &Cancel::new(), |_| Flow::Continue));
        eventually("it is granted", || world.rig.runtime.memory().request_bytes > 0);
        world.rig.clock.advance(Duration::from_secs(6));
        assert_eq!(waits.join().unwrap().unwrap().ending, Ending::Deadline);

        let cancel = Cancel::new();
        let flag = cancel.clone();
        let waits = scope.spawn(move || open.generate(&request(), None, &flag, |_| Flow::Continue));
        eventually("it is granted", || world.rig.runtime.memory().request_bytes > 0);
        cancel.cancel();
        assert_eq!(waits.join().unwrap().unwrap().ending, Ending::Cancelled);
        end.send(()).unwrap();
        assert!(loads.join().unwrap().is_ok());
    });
    world.runs(None);
}
