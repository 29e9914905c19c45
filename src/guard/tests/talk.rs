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

#[test]
fn whoever_waits_hears_of_a_conversation_that_ends() {
    let world = World::host(1_000);
    let talk = world.guard.talk(900);
    let seat = world.seat();
    let Queued::Waits(_, mut waiting) =
        world.guard.enqueue(&seat, &ask(5, 4, 1), Duration::from_secs(9)).unwrap()
    else {
        panic!("there is room");
    };
    assert!(waiting.poll(&seat).unwrap().is_none());
    drop(talk);
    let (verdict, grant) = waiting.poll(&seat).unwrap().unwrap();
    assert!(grant.is_some(), "{verdict}");
}

#[test]
fn the_machine_says_itself_what_is_not_leased() {
    let clock = Arc::new(ManualClock::default());
    let probe = Arc::new(Mutex::new(Some(Reading { capacity: 10_000, used: 700 })));
    let guard = MemoryGuard::new(GuardConfig { budget: None, ..exact(10_000, None) }, probe, clock).unwrap();
    let _talk = guard.talk(300);
    assert_eq!(guard.stats().host().others, 700, "the reading has them already");
}
