//! What is seen of a model while it comes or goes.

use super::*;
use plimsoll_engine::{Buffer, Source};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{MutexGuard, Weak};

const MODEL: ModelId = ModelId(7);
const BYTES: u64 = 400;
/// Long for a thread that has nothing to wait for.
const WHILE: Duration = Duration::from_millis(30);

static ARENA: Source = Source::heap::<8>("arena");

type Scene = Box<dyn FnOnce(&mut Vec<Lease>) + Send>;

/// A model that may be unloaded, and what happens meanwhile.
struct Holder {
    leases: Mutex<Vec<Lease>>,
    scene: Mutex<Option<Scene>>,
    enrolment: OnceLock<Enrolment>,
    engine: Arc<FakeEngine>,
}

impl Unload for Holder {
    fn unload(&self) {
        let mut leases = std::mem::take(&mut *self.leases());
        if let Some(scene) = self.scene.lock().unwrap().take() {
            scene(&mut leases);
        }
        drop(leases);
        self.engine.forget();
    }
}

impl Holder {
    /// A model of 400 bytes that is loaded.
    fn new(guard: &Arc<MemoryGuard>, idles: bool) -> Arc<Holder> {
        let parts =
            [(Owner::Weights(MODEL), BYTES - 100), (Owner::Workspace(MODEL), 100), (Owner::Tables(MODEL), 0)];
        let enrolled = guard.enrol(MODEL, Footprint { region: Region::Host, parts }, idles).unwrap();
        let mut loading = enrolled.book(None, &mut guard.set_aside(None)).unwrap().unwrap();
        let leases = Mutex::new(loading.take().unwrap().into());
        let engine = FakeEngine::new(Region::Host);
        engine.watch(guard);
        let (scene, enrolment) = Default::default();
        let holder = Arc::new(Holder { leases, scene, enrolment, engine });
        let engine: Arc<dyn Engine> = holder.engine.clone();
        let weak: Weak<Holder> = Arc::downgrade(&holder);
        enrolled.attach(&engine, weak).unwrap();
        loading.done();
        assert!(holder.enrolment.set(enrolled).is_ok());
        holder
    }

    fn leases(&self) -> MutexGuard<'_, Vec<Lease>> {
        self.leases.lock().unwrap()
    }

    /// The next unload goes through this before the leases are back.
    fn stage(&self, scene: impl FnOnce(&mut Vec<Lease>) + Send + 'static) {
        *self.scene.lock().unwrap() = Some(Box::new(scene));
    }

    fn seat(&self, guard: &Arc<MemoryGuard>) -> Seat {
        guard.open_session(self.engine.clone(), None).unwrap()
    }

    fn loading(&self) -> Loading {
        self.enrolment.get().unwrap().collect().unwrap()
    }
}

/// A guard that may lease all of 1000 bytes, of which the machine says how many are used.
struct Live {
    guard: Arc<MemoryGuard>,
    clock: Arc<ManualClock>,
    probe: Arc<Mutex<Option<Reading>>>,
}

impl Live {
    fn new() -> Self {
        let config = GuardConfig { budget: None, ..exact(0, None) };
        let clock = Arc::new(ManualClock::default());
        let probe = Arc::new(Mutex::new(Some(Reading { capacity: 1_000, used: 200 })));
        let guard = MemoryGuard::new(config, probe.clone(), clock.clone()).unwrap();
        Live { guard, clock, probe }
    }

    /// Used and others' bytes after a new reading.
    fn read(&self, used: u64) -> (u64, u64) {
        *self.probe.lock().unwrap() = Some(Reading { capacity: 1_000, used });
        self.clock.advance(Duration::from_millis(100));
        let host = self.guard.stats().host();
        (host.used, host.others)
    }
}

#[test]
fn a_model_that_comes_hides_nobody() {
    let live = Live::new();
    let model = Holder::new(&live.guard, true);
    assert_eq!(live.read(600), (400, 200));
    assert_eq!(live.guard.unload(MODEL), Ok(400));
    assert_eq!(live.read(200), (0, 200));
    let (seat, other) =
        (model.seat(&live.guard), live.guard.open_session(FakeEngine::new(Region::Host), None));
    // 100 bytes of KV and 10 of its own, which are there at once.
    let (_, grant) = live.guard.admit(&seat, &ask(4, 0, 0)).unwrap();
    model.engine.holdings.lock().unwrap().kv = 100;
    assert_eq!(live.read(310), (510, 200), "nobody has begun to load it");
    let refused = live.guard.admit(&other.unwrap(), &ask(12, 0, 0)).unwrap().0;
    assert_eq!((refused.decision, refused.bytes_free), (Decision::Reject, 290));
    let mut loading = model.loading();
    assert_eq!(live.read(311), (510, 201), "nothing has come");
    loading.come(25, 100);
    assert_eq!(live.read(410), (510, 200), "a quarter has");
    loading.come(100, 100);
    assert_eq!(live.read(713), (510, 203));
    *model.leases() = loading.take().unwrap().into();
    assert_eq!(live.read(710), (510, 200));
    loading.done();
    assert_eq!(live.read(712), (510, 202));
    model.engine.finish(grant.unwrap(), 0);
    live.guard.check_integrity().unwrap();
}

#[test]
fn a_load_that_fails_hides_nobody() {
    let live = Live::new();
    let model = Holder::new(&live.guard, true);
    assert_eq!(live.guard.unload(MODEL), Ok(400));
    let mut loading =
        model.enrolment.get().unwrap().book(None, &mut live.guard.set_aside(None)).unwrap().unwrap();
    loading.come(1, 2);
    assert_eq!(live.read(400), (400, 200));
    // It has freed all, and gives back one lease after the other.
    let mut leases: Vec<_> = loading.take().unwrap().into();
    assert_eq!(live.read(401), (400, 201), "whether it has freed it nobody knows");
    drop(leases.remove(1));
    assert_eq!(live.read(402), (300, 202));
    drop((leases, loading));
    assert_eq!(live.read(203), (0, 203));
    live.guard.check_integrity().unwrap();
}

#[test]
fn a_model_that_goes_hides_nobody() {
    let live = Arc::new(Live::new());
    let model = Holder::new(&live.guard, true);
    assert_eq!(live.read(600), (400, 200));
    let (there, (said, seen)) = (Arc::clone(&live), channel());
    // Its memory is free, its leases are not back.
    model.stage(move |leases| {
        said.send(there.read(200)).unwrap();
        drop(leases.remove(1));
        said.send(there.read(201)).unwrap();
    });
    assert_eq!(live.guard.unload(MODEL), Ok(400));
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [(400, 200), (300, 201)]);
    assert_eq!(live.read(202), (0, 202));
}

#[test]
fn a_model_that_goes_presses_nobody() {
    let world =
        World::new(GuardConfig { pressure: Some(Levels::default()), ..exact(1_000, None) }, Region::Host);
    let model = Holder::new(&world.guard, true);
    let _lease = world.guard.lease(Region::Host, Owner::Weights(ModelId(1)), 500).unwrap();
    let (guard, (said, seen)) = (Arc::clone(&world.guard), channel());
    model.stage(move |leases| {
        said.send(guard.pressure()).unwrap();
        drop(leases.remove(1));
        said.send(guard.pressure()).unwrap();
    });
    assert_eq!(world.guard.pressure(), Pressure::Low);
    assert_eq!(world.guard.unload(MODEL), Ok(400));
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [Pressure::Low; 2]);
    assert_eq!(world.guard.stats().pressure_changes, 0);
}

#[test]
fn advice_knows_that_a_model_goes_with_its_last_request() {
    let world = World::host(1_000);
    let model = Holder::new(&world.guard, true);
    let seats = [(); 2].map(|()| model.seat(&world.guard));
    // Each has 100 bytes of KV and 10 of its own.
    let grants = seats.each_ref().map(|seat| world.guard.admit(seat, &ask(4, 0, 0)).unwrap().1.unwrap());
    let advice = |tokens| {
        let verdict = world.guard.what_if(&world.seat(), &ask(tokens, 0, 0)).unwrap();
        assert_eq!(verdict.decision, Decision::Reject);
        verdict.retry_after.unwrap()
    };
    // 380 are free, and the guess is that a request takes a second: with the first of the two come 100, with the second 500.
    assert_eq!([advice(16), advice(36)], [Duration::from_secs(1); 2]);
    drop(grants);
}

#[test]
fn a_model_that_stays_counts_for_no_advice() {
    let world = World::host(1_000);
    let model = Holder::new(&world.guard, true);
    let seat = model.seat(&world.guard);
    let (_, grant) = world.guard.admit(&seat, &ask(4, 0, 0)).unwrap();
    model.enrolment.get().unwrap().keep();
    let grown = world.guard.lease(Region::Host, Owner::Request(plimsoll_engine::RequestId(99)), 300).unwrap();
    // 190 are free; of the 320 that it lacks 100 come in each round.
    let verdict = world.guard.what_if(&world.seat(), &ask(20, 0, 0)).unwrap();
    assert_eq!(verdict.decision, Decision::Reject);
    assert_eq!(verdict.retry_after, Some(Duration::from_secs(4)));
    drop((grant, grown));
}

#[test]
fn the_end_of_its_models_unload_is_news_to_a_request() {
    let world = World::host(900);
    let model = Holder::new(&world.guard, true);
    let (seat, guard) = (model.seat(&world.guard), Arc::clone(&world.guard));
    let (said, seen) = channel();
    model.stage(move |leases| {
        leases.clear();
        std::thread::spawn(move || {
            // With the model there are 500; 400 and 10 and 3 for each token.
            let (verdict, grant) = guard.admit(&seat, &ask(4, 40, 1)).unwrap();
            said.send((verdict.decision, verdict.reason)).unwrap();
            drop((grant, seat));
        });
        std::thread::sleep(WHILE);
    });
    assert_eq!(world.guard.unload(MODEL), Ok(400));
    assert_eq!(seen.recv().unwrap(), (Decision::Shrink, Reason::Budget));
    world.check();
}

#[test]
fn what_is_asked_to_go_is_in_nobodys_way_for_good() {
    let world = World::host(1_000);
    // It does not go by itself.
    let model = Holder::new(&world.guard, false);
    let (busy, asking) = (world.seat(), world.seat());
    let (_, grant) = world.guard.admit(&busy, &ask(12, 0, 0)).unwrap();
    let never = world.guard.what_if(&asking, &ask(32, 0, 0)).unwrap();
    assert_eq!((never.decision, never.retry_after), (Decision::Reject, None));
    let (guard, (said, seen)) = (Arc::clone(&world.guard), channel());
    model.stage(move |_| said.send(guard.what_if(&asking, &ask(32, 0, 0)).unwrap()).unwrap());
    assert_eq!(world.guard.unload(MODEL), Ok(400));
    let later = seen.recv().unwrap();
    assert_eq!((later.decision, later.reason), (Decision::Reject, Reason::Budget));
    assert!(later.retry_after.is_some(), "{later:?}");
    drop(grant);
}

#[test]
fn a_request_finds_the_workspace_of_its_model() {
    // The model and one request.
    let world = World::host(BYTES + 110);
    let model = Holder::new(&world.guard, true);
    model.enrolment.get().unwrap().set_arena(Some((&ARENA, 100)));
    let mut workspace = Buffer::take(&world.guard.buffers(), &ARENA, 100);
    let at = workspace.as_ref().unwrap().as_ptr();
    model.stage(move |_| drop(workspace.take()));
    assert_eq!(world.guard.unload(MODEL), Ok(400));
    let idle = || world.guard.pool_stats().engine.idle_bytes;
    let seat = model.seat(&world.guard);
    let admit = || world.guard.admit(&seat, &ask(4, 0, 0)).unwrap().1.unwrap();
    assert_eq!(idle(), 100);
    let grant = admit();
    assert_eq!((world.used(Region::Host), idle()), (510, 0));
    // Nobody loads it.
    drop(grant);
    assert_eq!((world.used(Region::Host), idle(), world.guard.bytes_free(Region::Host)), (0, 100, 510));
    // A load that comes to nothing, and one that takes what it finds.
    let grant = admit();
    drop(model.loading());
    assert_eq!((world.used(Region::Host), idle()), (110, 100));
    drop(grant);
    let grant = admit();
    let mut loading = model.loading();
    let found = Buffer::take(&loading.buffers(), &ARENA, 100).unwrap();
    assert_eq!((found.as_ptr(), world.guard.pool_stats().engine.hits, idle()), (at, 1, 0));
    *model.leases() = loading.take().unwrap().into();
    loading.done();
    drop((found, grant));
    world.check();
    assert_eq!(world.guard.trim_pool(), 100);
}

#[test]
fn a_buffer_waits_for_a_model_that_goes() {
    let config = GuardConfig { reclaim_deadline: Duration::from_secs(10), ..exact(1 << 20, None) };
    let world = World::new(config, Region::Host);
    let model = Holder::new(&world.guard, true);
    let rest =
        world.guard.lease(Region::Host, Owner::Weights(ModelId(1)), (1 << 20) - BYTES - 102_000).unwrap();
    let guard = Arc::clone(&world.guard);
    let (said, seen): (_, Receiver<u64>) = channel();
    let seen = Arc::new(Mutex::new(seen));
    let early = Arc::clone(&seen);
    model.stage(move |_| {
        std::thread::spawn(move || {
            // 100 KiB, of which 400 bytes are the model's.
            let buffer = guard.acquire(1).unwrap();
            said.send(buffer.capacity() as u64).unwrap();
        });
        assert!(early.lock().unwrap().recv_timeout(WHILE).is_err(), "it does not wait");
    });
    assert_eq!(world.guard.unload(MODEL), Ok(400));
    assert_eq!(seen.lock().unwrap().recv().unwrap(), 100 << 10);
    drop(rest);
}
