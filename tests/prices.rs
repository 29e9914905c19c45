//! Prices line by line: what a verdict and a ticket list is what the leases hold, owner by owner.

#![cfg(feature = "native")]
#![allow(clippy::unwrap_used)]

mod common;

use common::{PLENTY, Rig, SESSION, ask_tokens, run, session};
use plimsoll::guard::{Item, OwnerStats, Purpose, What};
use plimsoll::{Decision, Runtime, Ticket};
use plimsoll_engine::{Owner, Region};
use std::collections::BTreeMap;

type Sums = BTreeMap<(Region, Owner), u64>;

fn sums(lines: impl IntoIterator<Item = (Region, Owner, u64)>) -> Sums {
    let mut sums = Sums::new();
    for (region, owner, bytes) in lines {
        *sums.entry((region, owner)).or_default() += bytes;
    }
    sums
}

fn ledger(runtime: &Runtime) -> Sums {
    sums(runtime.memory().ledger.iter().map(|&OwnerStats { region, owner, bytes }| (region, owner, bytes)))
}

fn of(items: &[Item], pick: impl Fn(What) -> bool) -> Sums {
    sums(
        items
            .iter()
            .filter(|item| pick(item.what))
            .map(|item| (item.region, item.owner.unwrap(), item.bytes)),
    )
}

/// What the ledger gained between two looks at it.
fn gained(before: &Sums, after: &Sums) -> Sums {
    let gain = |(key, bytes): (&(Region, Owner), &u64)| {
        let gain = bytes - before.get(key).copied().unwrap_or(0);
        (gain > 0).then_some((*key, gain))
    };
    after.iter().filter_map(gain).collect()
}

fn line(ticket: &Ticket, what: What) -> u64 {
    ticket.items().iter().find(|item| item.what == what).map_or(0, |item| item.bytes)
}

#[test]
fn the_lines_of_a_ticket_are_its_leases() {
    let rig = Rig::new(PLENTY);
    for name in ["llama3", "gemma3", "qwen2-window"] {
        let model = rig.golden(name);
        let open = session(&model);
        for turn in 0..2 {
            let mut request = ask_tokens(&[7 + turn; 20], 12);
            request.sampling.top_logprobs = 3;
            request.sampling.repetition_penalty = 1.1;
            let before = ledger(&rig.runtime);
            let guess = open.what_if(&request).unwrap();
            let (verdict, ticket) = open.admit(&request).unwrap();
            let ticket = ticket.unwrap();
            assert_eq!(guess.items(), verdict.items(), "{name}: a what-if has the lines of the grant");

            let now = ledger(&rig.runtime);
            assert_eq!(of(&ticket.items(), What::is_new), gained(&before, &now), "{name} turn {turn}");
            // With what was paid before, the lines are all that these owners have: of the workspace all, of KV all.
            let all = of(&ticket.items(), |_| true);
            for ((region, owner), bytes) in &all {
                assert_eq!(now[&(*region, *owner)], *bytes, "{name} turn {turn}: {owner}");
            }
            assert_eq!(
                all.values().sum::<u64>(),
                verdict.kv_bytes + verdict.request_bytes + verdict.workspace_bytes
            );
            assert_eq!(line(&ticket, What::KvHeld) > 0, turn > 0, "{name} turn {turn}");
            // 8 bytes of a token, and as many of each of three alternatives.
            assert_eq!(line(&ticket, What::Ring), 12 * (8 + 3 * 8));
            assert!(line(&ticket, What::Buffers) > 32 * 4, "token ids alone");

            let json = ticket.to_json();
            assert_eq!(json["new_bytes"], verdict.bytes_asked);
            let written: u64 =
                json["items"].as_array().unwrap().iter().map(|item| item["bytes"].as_u64().unwrap()).sum();
            assert_eq!(written, all.values().sum::<u64>());
            for item in json["items"].as_array().unwrap() {
                let books = rig.runtime.memory().to_json();
                let mut entries = books["ledger"].as_array().unwrap().iter();
                let entry = entries.find(|entry| entry["owner"] == item["owner"]).unwrap();
                assert_eq!((&entry["purpose"], &entry["region"]), (&item["purpose"], &item["region"]));
            }
            drop(ticket);
            assert_eq!(ledger(&rig.runtime), before, "{name} turn {turn}");
            run(&open, &request);
        }
    }
}

#[test]
fn a_refusal_lists_what_it_would_have_taken() {
    let rig = Rig::new(PLENTY);
    let model = rig.golden("llama3");
    let kept = rig.runtime.memory().host().free;
    let _rest = rig
        .runtime
        .guard()
        .lease(Region::Host, Owner::Weights(plimsoll_engine::ModelId(99)), kept - SESSION - 100)
        .unwrap();
    let verdict = session(&model).what_if(&ask_tokens(&[7; 20], 12)).unwrap();
    assert_eq!(verdict.decision, Decision::Reject);
    let new: u64 = verdict.items().iter().filter(|item| item.what.is_new()).map(|item| item.bytes).sum();
    assert_eq!(new, verdict.bytes_asked);
    assert!(
        verdict.items().iter().all(|item| item.owner.is_none() && item.what.purpose() != Purpose::Weights)
    );
    let json = verdict.to_json();
    assert_eq!((&json["decision"], &json["bytes_free"]), (&"reject".into(), &100.into()));
}
