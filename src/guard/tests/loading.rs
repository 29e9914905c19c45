//! Loads of models that may be unloaded: what those who wait and those who were granted may count on while one is under way.

use super::*;
use plimsoll_engine::Engine;
use std::sync::Weak;

const LONG: Duration = Duration::from_secs(3600);

/// A model's leases, while it is loaded.
#[derive(Default)]
struct Holder(Mutex<Vec<Lease>>);

impl Unload for Holder {
    fn unload(&self) {
        self.0.lock().unwrap().clear();
    }
}

/// The enrolment goes last.
struct Home {
    id: ModelId,
    engine: Arc<FakeEngine>,
    holder: Arc<Holder>,
    enrolment: Enrolment,
}

impl Home {
    fn new(world: &World, id: u64, bytes: u64, idles: bool) -> Home {
        let id = ModelId(id);
        let parts = [(Owner::Weights(id), bytes), (Owner::Workspace(id), 0), (Owner::Tables(id), 0)];
        let enrolment = world.guard.enrol(id, Footprint { region: Region::Host, parts }, idles).unwrap();
        let engine = FakeEngine::new(Region::Host);
        engine.watch(&world.guard);
        Home { id, engine, holder: Arc::default(), enrolment }
    }

    fn begin(&self, world: &World) -> Loading {
        self.enrolment.book(None, &mut world.guard.set_aside(None)).unwrap().unwrap()
    }

    fn end(&self, mut loading: Loading) {
        *self.holder.0.lock().unwrap() = loading.take().unwrap().into();
        let holder: Weak<dyn Unload> = Arc::<Holder>::downgrade(&self.holder);
        self.enrolment.attach(&(Arc::clone(&self.engine) as Arc<dyn Engine>), holder).unwrap();
        loading.done();
    }

    fn load(world: &World, id: u64, bytes: u64) -> Home {
        let home = Home::new(world, id, bytes, true);
        home.end(home.begin(world));
        home
    }

    fn seat(&self, world: &World) -> Seat {
        world.guard.open_session(self.engine.clone(), None).unwrap()
    }

    fn is_loaded(&self) -> bool {
        !self.holder.0.lock().unwrap().is_empty()
    }
}

/// A model of 4,000 bytes that is out, in a world in which another of 7,000 fits, but not beside it.
fn one_that_is_out() -> (World, Home, Seat) {
    let world = World::host(10_000);
    let out = Home::load(&world, 1, 4_000);
    let seat = out.seat(&world);
    assert_eq!(world.guard.unload(out.id), Ok(4_000));
    (world, out, seat)
}

#[test]
fn a_first_load_refuses_nobody_for_good_and_its_end_wakes_who_waits() {
    let (world, out, seat) = one_that_is_out();
    let request = ask(8, 4, 4);
    let large = Home::new(&world, 2, 7_000, true);
    let loading = large.begin(&world);
    let newcomer = world.guard.what_if(&seat, &request).unwrap();
    assert!(newcomer.decision == Decision::Reject && newcomer.retry_after.is_some(), "{newcomer}");
    let Queued::Waits(_, mut waiting) = world.guard.enqueue(&seat, &request, LONG).unwrap() else {
        panic!("it may wait")
    };
    assert!(waiting.poll(&seat).unwrap().is_none() && !waiting.has_news());
    large.end(loading);
    assert!(waiting.has_news(), "the model may go for it");
    let (verdict, grant) = waiting.poll(&seat).unwrap().unwrap();
    assert_eq!((verdict.decision, verdict.unload_models), (Decision::Accept, 1));
    assert!(grant.is_some() && !large.is_loaded());
    drop(grant);
    drop(seat);
    drop((large, out));
    assert_eq!(world.used(Region::Host), 0);
    world.check();
}

#[test]
fn a_first_load_that_stays_refuses_for_good_and_one_that_fails_leaves_nothing() {
    let (world, _out, seat) = one_that_is_out();
    let request = ask(8, 4, 4);
    let large = Home::new(&world, 2, 7_000, false);
    let loading = large.begin(&world);
    assert_eq!(world.guard.what_if(&seat, &request).unwrap().retry_after, None);
    assert_eq!(world.guard.stats().models_loaded, 1);
    drop(loading);
    assert_eq!(world.guard.what_if(&seat, &request).unwrap().decision, Decision::Accept);
    let stats = world.guard.stats();
    assert_eq!((stats.models_loaded, stats.models_unloaded, stats.reloads), (0, 1, 0));
    world.check();
}

#[test]
fn one_that_is_told_to_stay_tells_those_who_wait_for_its_bytes() {
    let (world, _out, seat) = one_that_is_out();
    let large = Home::load(&world, 2, 7_000);
    let other = large.seat(&world);
    let (_, grant) = world.guard.admit(&other, &ask(1, 1, 1)).unwrap();
    let Queued::Waits(_, mut waiting) = world.guard.enqueue(&seat, &ask(8, 4, 4), LONG).unwrap() else {
        panic!("it may wait")
    };
    assert!(waiting.poll(&seat).unwrap().is_none());
    assert!(large.enrolment.keep());
    let (verdict, none) = waiting.poll(&seat).unwrap().unwrap();
    assert!(none.is_none() && verdict.retry_after.is_none());
    drop(grant);
}

#[test]
fn a_load_is_not_stopped_for_those_who_were_granted_on_it() {
    let (world, out, seat) = one_that_is_out();
    let mut loading = out.begin(&world);
    let (_, grant) = world.guard.admit(&seat, &ask(8, 4, 4)).unwrap();
    assert!(!loading.stop(0), "a request counts on it");
    assert!(loading.stop(1), "its own does not");
    assert!(!out.enrolment.keep(), "it goes");
    drop((loading, grant));
    assert_eq!(world.used(Region::Host), 0);

    // The same with bytes that a grant has booked.
    let (_, grant) = world.guard.admit(&seat, &ask(8, 4, 4)).unwrap();
    let mut loading = out.begin(&world);
    assert!(!loading.stop(0));
    out.end(loading);
    assert!(out.is_loaded() && out.enrolment.keep());
    drop(grant);
    assert_eq!(world.guard.stats().reloads, 1);
    world.check();
}
