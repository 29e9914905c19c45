//! Models that are unloaded and loaded again, against requests on them and others who need the same room.
#![cfg(loom)]
#![allow(clippy::unwrap_used)]

use loom::sync::Mutex;
use loom::thread;
use plimsoll::guard::{Enrolment, Footprint, Grant, InUse, Seat, Unload};
use plimsoll_engine::{Cancel, Engine, Lease, ModelId, Owner, Region};
use plimsoll_loom::{Keeper, REQUEST, TOKEN, World, explore};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Who waits has all the time there is.
const LONG: Duration = Duration::from_secs(3_600);

/// What a model takes.
const MODEL: u64 = 5 * TOKEN;

/// A model that may go by itself: loaded while there are leases.
struct Resident {
    world: World,
    engine: Arc<Keeper>,
    leases: Mutex<Vec<Lease>>,
}

impl Unload for Resident {
    fn unload(&self) {
        let leases = std::mem::take(&mut *self.leases.lock().unwrap());
        assert!(!leases.is_empty(), "only what is loaded is unloaded");
        drop(leases);
    }
}

/// The enrolment goes last.
struct Model(Arc<Resident>, Enrolment);

impl Model {
    fn load(world: &World, id: u64) -> Model {
        let (engine, owner) = (Arc::new(Keeper::new()), Owner::Weights(ModelId(id)));
        let parts = [(owner, MODEL), (Owner::Workspace(ModelId(id)), 0), (Owner::Tables(ModelId(id)), 0)];
        let footprint = Footprint { region: Region::Host, parts };
        let enrolment = world.guard.enrol(ModelId(id), footprint, true).unwrap();
        let mut loading = enrolment.book(None, &mut world.guard.set_aside(None)).unwrap().unwrap();
        let leases = loading.take().unwrap().into();
        let resident = Arc::new(Resident { world: world.clone(), engine, leases: Mutex::new(leases) });
        let engine = Arc::clone(&resident.engine) as Arc<dyn Engine>;
        let holder: Weak<dyn Unload> = Arc::<Resident>::downgrade(&resident);
        enrolment.attach(&engine, holder).unwrap();
        loading.done();
        Model(resident, enrolment)
    }

    fn seat(&self) -> Seat {
        self.0.world.guard.open_session(self.0.engine.clone(), None).unwrap()
    }

    fn is_loaded(&self) -> bool {
        !self.0.leases.lock().unwrap().is_empty()
    }

    /// A granted request finds its model, or loads it, unless another of its requests is at it.
    fn ready(&self, grant: Grant) -> Grant {
        if let Some(mut loading) = self.1.collect() {
            *self.0.leases.lock().unwrap() = loading.take().unwrap().into();
            loading.done();
        }
        grant
    }
}

#[test]
fn a_model_is_chosen_while_a_request_of_it_is_admitted() {
    explore(|| {
        let world = World::new(MODEL + TOKEN + REQUEST);
        let model = Model::load(&world, 1);
        let seat = model.seat();
        let other = world.clone();
        let thread =
            thread::spawn(move || other.guard.lease(Region::Host, Owner::Weights(ModelId(9)), MODEL).ok());
        let grant = world.admit(&seat, 1).map(|grant| model.ready(grant));
        if grant.is_some() {
            assert!(model.is_loaded(), "it is in use from the grant on");
        }
        let lease = thread.join().unwrap();
        assert!(grant.is_some() != lease.is_some(), "there is room for one of them");
        assert_eq!(model.is_loaded(), grant.is_some());
        drop((grant, lease));
        world.assert_used(if model.is_loaded() { MODEL } else { 0 });
        drop((seat, model));
        world.assert_used(0);
    });
}

#[test]
fn two_loads_that_need_the_same_model_to_go_both_have_its_room() {
    explore(|| {
        let world = World::new(MODEL);
        let model = Model::load(&world, 1);
        let load = |id| {
            let world = world.clone();
            move || world.guard.lease(Region::Host, Owner::Weights(ModelId(id)), MODEL / 2)
        };
        let thread = thread::spawn(load(8));
        let right = load(9)();
        let left = thread.join().unwrap();
        assert!(left.is_ok() && right.is_ok());
        assert_eq!((model.is_loaded(), world.guard.stats().unloads), (false, 1));
        drop((left, right, model));
        world.assert_used(0);
    });
}

#[test]
fn two_requests_bring_a_model_back_once() {
    explore(|| {
        let world = World::new(MODEL + 2 * (TOKEN + REQUEST));
        let model = Arc::new(Model::load(&world, 1));
        let seats = [model.seat(), model.seat()];
        assert_eq!(world.guard.unload(ModelId(1)), Ok(MODEL));
        let [left, right] = seats.map(|seat| {
            let (world, model) = (world.clone(), Arc::clone(&model));
            move || {
                let grant = world.admit(&seat, 1).map(|grant| model.ready(grant)).unwrap();
                (grant, seat)
            }
        });
        let thread = thread::spawn(left);
        let right = right();
        let left = thread.join().unwrap();
        assert!(model.is_loaded());
        assert_eq!(world.guard.unload(ModelId(1)), Err(InUse));
        assert_eq!(world.guard.stats().reloads, 1);
        world.assert_used(MODEL + 2 * (TOKEN + REQUEST));
        drop((left, right));
        assert_eq!(world.guard.unload(ModelId(1)), Ok(MODEL));
        world.assert_used(0);
    });
}

#[test]
fn a_grant_that_is_thrown_away_and_one_that_loads_leave_no_bytes_of_nobody() {
    explore(|| {
        let world = World::new(MODEL + 2 * (TOKEN + REQUEST));
        let model = Arc::new(Model::load(&world, 1));
        let (unused, used) = (model.seat(), model.seat());
        assert_eq!(world.guard.unload(ModelId(1)), Ok(MODEL));
        let other = world.clone();
        let thread = thread::spawn(move || drop((other.admit(&unused, 1).unwrap(), unused)));
        let grant = model.ready(world.admit(&used, 1).unwrap());
        assert!(model.is_loaded());
        thread.join().unwrap();
        world.assert_used(MODEL + TOKEN + REQUEST);
        drop(grant);
        assert_eq!(world.guard.stats().models_loaded, 1);
        drop((used, model));
        world.assert_used(0);
    });
}

#[test]
fn a_model_is_dropped_while_somebody_unloads_it() {
    explore(|| {
        let world = World::new(MODEL);
        let model = Model::load(&world, 1);
        let other = world.clone();
        let thread = thread::spawn(move || other.guard.unload(ModelId(1)));
        drop(model);
        let freed = thread.join().unwrap();
        assert!(matches!(freed, Ok(0 | MODEL)), "{freed:?}");
        world.assert_used(0);
        assert_eq!(world.guard.stats().models_loaded, 0);
    });
}

#[test]
fn who_waits_hears_of_a_first_load_whose_model_may_go() {
    explore(|| {
        // One that nobody waits for, of which a request could have the room.
        let world = World::new(MODEL + TOKEN + REQUEST);
        let first = Arc::new(Model::load(&world, 1));
        let seat = first.seat();
        assert_eq!(world.guard.unload(ModelId(1)), Ok(MODEL));
        let parts = [
            (Owner::Weights(ModelId(2)), MODEL),
            (Owner::Workspace(ModelId(2)), 0),
            (Owner::Tables(ModelId(2)), 0),
        ];
        let footprint = Footprint { region: Region::Host, parts };
        let enrolment = world.guard.enrol(ModelId(2), footprint, true).unwrap();
        let mut loading = enrolment.book(None, &mut world.guard.set_aside(None)).unwrap().unwrap();
        let (waits, model) = (world.clone(), Arc::clone(&first));
        let thread = thread::spawn(move || {
            let ask = World::ask(1);
            let (_, grant) = waits.guard.admit_waiting(&seat, &ask, LONG, &Cancel::new()).unwrap();
            let grant = grant.expect("the room comes back");
            drop((model.ready(grant), seat, model));
        });
        let leases = loading.take().unwrap().into();
        let engine = Arc::new(Keeper::new());
        let second = Arc::new(Resident { world: world.clone(), engine, leases: Mutex::new(leases) });
        let engine = Arc::clone(&second.engine) as Arc<dyn Engine>;
        let holder: Weak<dyn Unload> = Arc::<Resident>::downgrade(&second);
        enrolment.attach(&engine, holder).unwrap();
        loading.done();
        thread.join().unwrap();
        assert!(first.is_loaded());
        assert_eq!(world.guard.stats().unloads, 2);
        drop((second, enrolment, first));
        world.assert_used(0);
    });
}
