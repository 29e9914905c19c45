//! Conversations are counted as what nobody leases.

use super::*;

#[test]
fn conversations_take_from_a_budget_and_give_back() {
    let world = World::host(10_000);
    let mut talk = world.guard.talk(300);
    let other = world.guard.talk(50);
    let host = || world.guard.stats().host();
    assert_eq!((host().others, host().free, world.guard.talk_bytes()), (350, 9_650, 350));
    talk.set(9_900);
    assert_eq!((host().others, host().free), (9_950, 50));
    let seat = world.seat();
    let (verdict, grant) = world.guard.admit(&seat, &ask(5, 4, 1)).unwrap();
    assert!(grant.is_none() && verdict.reason == Reason::Budget && verdict.bytes_free == 50);
    // More than there is: what is said cannot be refused.
    talk.set(12_000);
    assert_eq!((host().others, host().free), (12_050, 0));
    drop(talk);
    assert_eq!((host().others, host().free), (50, 9_950));
    assert_eq!(world.run(&seat, &ask(5, 4, 1), 0).decision, Decision::Accept);
    drop(other);
    assert_eq!((host().others, world.guard.talk_bytes()), (0, 0));
    world.check();
}

fn enqueue(world: &World, seat: &Seat, ask: &Ask) -> Queued {
    world.guard.enqueue(seat, ask, Duration::from_secs(9)).unwrap()
}

#[test]
fn what_never_fits_beside_conversations_is_refused_for_good() {
    let world = World::host(1_000);
    let (seat, other) = (world.seat(), world.seat());
    // Three blocks of KV and 17 bytes for a prompt and an answer.
    let talk = world.guard.talk(700);
    let Queued::Decided(verdict, None) = enqueue(&world, &seat, &ask(5, 4, 4)) else { panic!("it waits") };
    assert_eq!((verdict.reason, verdict.retry_after, verdict.position), (Reason::Budget, None, 0));
    drop(talk);
    let (_, running) = world.guard.admit(&other, &ask(16, 4, 4)).unwrap();
    let mut talk = world.guard.talk(100);
    let Queued::Waits(_, mut waiting) = enqueue(&world, &seat, &ask(16, 4, 4)) else {
        panic!("it fits then")
    };
    assert!(waiting.poll(&seat).unwrap().is_none());
    // Nobody else would tell it: what runs ends before its conversation grows.
    world.engine.finish(running.unwrap(), 0);
    talk.set(500);
    let (verdict, grant) = waiting.poll(&seat).unwrap().unwrap();
    assert!(grant.is_none());
    assert_eq!((verdict.reason, verdict.retry_after), (Reason::Budget, None));
    assert_eq!(world.guard.stats().waiting, 0);
}

#[test]
fn whoever_waits_hears_of_a_conversation_that_grows_or_ends() {
    let world = World::host(1_100);
    let (seat, other) = (world.seat(), world.seat());
    let mut talk = world.guard.talk(100);
    let (_, running) = world.guard.admit(&other, &ask(16, 4, 4)).unwrap();
    let Queued::Waits(_, mut waiting) = enqueue(&world, &seat, &ask(16, 4, 4)) else {
        panic!("it fits then")
    };
    assert!(waiting.poll(&seat).unwrap().is_none());
    talk.set(500);
    assert!(waiting.poll(&seat).unwrap().is_none());
    talk.set(0);
    let (verdict, grant) = waiting.poll(&seat).unwrap().unwrap();
    assert!(grant.is_some(), "{verdict}");
    drop(running);
}

#[test]
fn the_machine_says_itself_what_is_not_leased() {
    let clock = Arc::new(ManualClock::default());
    let probe = Arc::new(Mutex::new(Some(Reading { capacity: 10_000, used: 700 })));
    let guard = MemoryGuard::new(GuardConfig { budget: None, ..exact(10_000, None) }, probe, clock).unwrap();
    let _talk = guard.talk(300);
    assert_eq!(guard.stats().host().others, 700, "the reading has them already");
}
