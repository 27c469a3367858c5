//! Random work, a crash at a random moment, and a look at what is there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use eg_event::{Clock, Handshake, Principal, Sequence, Submission, Timestamp};
use eg_storage::Store;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::applications::named_by_path;
use crate::crash_volume::{CrashVolume, Failing};
use crate::events::{anyone, held, once, payload, small, submission};

/// What senders have been told.
#[derive(Default)]
struct Told {
    /// The place of each event that was acknowledged, and its size.
    acked: BTreeMap<String, (Sequence, usize)>,
    /// Handshakes whose event was acknowledged and whose release was not asked for.
    open: BTreeMap<u16, Sequence>,
    /// Handshakes whose release was asked for.
    closing: BTreeSet<u16>,
    /// Handshakes whose release was acknowledged.
    released: BTreeSet<u16>,
    /// Events that were refused, and their size: they are sent again.
    refused: Vec<(String, usize)>,
}

/// Where the store lives.
struct World {
    volume: CrashVolume,
    clock: Clock,
    /// Whether syncs fail now and then.
    syncs_fail: bool,
}

impl World {
    fn new(syncs_fail: bool) -> Self {
        let clock = Clock::by_hand(Timestamp::from_micros(1_700_000_000_000_000));
        Self { volume: CrashVolume::default(), clock, syncs_fail }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acked_event_survives_a_crash_at_any_moment() {
    for seed in 0..60 {
        let mut world = World::new(false);
        let mut told = Told::default();
        // Several lives in a row: what one leaves behind, the next one must get right.
        for life in 0..4u64 {
            let mut rng = StdRng::seed_from_u64(seed * 100 + life);
            world.volume.crash_after(rng.random_range(0..400));
            live(&world, &mut told, &mut rng, life).await;
            world.volume.crash();
            world.volume = world.volume.after_crash(seed * 1000 + life);
            verify(&world.volume, &told, seed, life);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acked_event_survives_failed_syncs_and_what_comes_after_them() {
    for seed in 0..30 {
        let mut world = World::new(true);
        let mut told = Told::default();
        for life in 0..4u64 {
            let mut rng = StdRng::seed_from_u64(seed * 100 + life);
            world.volume.crash_after(rng.random_range(0..800));
            live(&world, &mut told, &mut rng, life).await;
            world.volume.crash();
            // The process goes, with the power or alone.
            world.volume = if rng.random_bool(0.5) {
                world.volume.after_kill()
            } else {
                world.volume.after_crash(seed * 1000 + life)
            };
            verify(&world.volume, &told, seed, life);
        }
    }
}

/// Opens the store and works until the power goes.
async fn live(world: &World, told: &mut Told, rng: &mut StdRng, life: u64) {
    let World { volume, clock, syncs_fail } = world;
    let Ok(store) = Store::open_on(Arc::new(volume.clone()), &small(), clock) else {
        return;
    };
    let principal = anyone().await;
    for round in 0..40 {
        if volume.is_dead() {
            break;
        }
        // A store that failed looks again a second later.
        clock.advance(Duration::from_secs(2));
        let fails = *syncs_fail && rng.random_bool(0.1);
        volume.set_failing(fails.then_some(Failing::Syncs));
        send_again(&store, &principal, told).await;
        let name = format!("{life}-{round}");
        match rng.random_range(0..10) {
            0 => release(&store, told).await,
            1..3 => exactly_once(&store, &principal, told, round).await,
            _ => append(&store, &principal, told, rng, &name).await,
        }
    }
    volume.set_failing(None);
    drop(store.close());
}

/// Sends what was refused once more, as senders do.
async fn send_again(store: &Store, principal: &Arc<Principal>, told: &mut Told) {
    for (id, size) in std::mem::take(&mut told.refused) {
        let submitted = vec![(sent(principal, &id, size), 0)];
        match &store.journal().append(submitted).await[0] {
            Ok(receipt) => drop(told.acked.insert(id, (receipt.sequence, size))),
            Err(_) => told.refused.push((id, size)),
        }
    }
}

/// Whether the event `id` is sent to be kept in quarantine.
fn is_held(id: &str) -> bool {
    id.ends_with('3')
}

fn sent(principal: &Arc<Principal>, id: &str, size: usize) -> Submission {
    let submission = submission(principal, id, size);
    if is_held(id) { held(submission) } else { submission }
}

/// Several batches at once, so that commits hold more than one.
async fn append(
    store: &Store,
    principal: &Arc<Principal>,
    told: &mut Told,
    rng: &mut StdRng,
    name: &str,
) {
    let mut waiting = Vec::new();
    for batch in 0..rng.random_range(1..4) {
        let size = rng.random_range(0..3000);
        let ids: Vec<_> =
            (0..rng.random_range(1..30)).map(|n| format!("{name}-{batch}-{n}")).collect();
        let application = ["shop", "bank"][batch % 2];
        let submit = |id: &String| (named_by_path(application, sent(principal, id, size)), 0);
        let submissions = ids.iter().map(submit).collect();
        waiting.push((ids, size, store.journal().append(submissions)));
    }
    for (ids, size, answers) in waiting {
        for (id, answer) in ids.into_iter().zip(answers.await) {
            match answer {
                Ok(receipt) => drop(told.acked.insert(id, (receipt.sequence, size))),
                // A few of each batch come again.
                Err(_) if told.refused.len() < 5 => told.refused.push((id, size)),
                Err(_) => {}
            }
        }
    }
}

async fn exactly_once(store: &Store, principal: &Arc<Principal>, told: &mut Told, round: u16) {
    let packet_id = round + 1;
    if told.open.contains_key(&packet_id) || told.closing.contains(&packet_id) {
        return;
    }
    let id = format!("once-{packet_id}");
    let submitted = once(submission(principal, &id, 10), "client", packet_id);
    if let [Ok(receipt)] = &store.journal().append(vec![(submitted, 0)]).await[..] {
        told.acked.insert(id, (receipt.sequence, 10));
        told.open.insert(packet_id, receipt.sequence);
    }
}

async fn release(store: &Store, told: &mut Told) {
    let Some((packet_id, _)) = told.open.pop_first() else {
        return;
    };
    told.closing.insert(packet_id);
    let handshake = Handshake { client_id: "client".into(), packet_id };
    if store.journal().release(handshake).await.is_ok() {
        told.released.insert(packet_id);
    }
}

fn verify(volume: &CrashVolume, told: &Told, seed: u64, life: u64) {
    // On a copy: looking must not heal what the next life has to cope with.
    let copy = volume.after_crash(0);
    let store = Store::open_on(Arc::new(copy), &small(), &Clock::system()).unwrap();
    let journal = store.journal();
    let mut from = Sequence::FIRST;
    let mut found = BTreeMap::new();
    while from < journal.end() {
        let events = journal.scan(from, 100, 1 << 16).unwrap();
        assert!(!events.is_empty(), "seed {seed}.{life}: nothing at {from} of {}", journal.end());
        for event in events {
            assert_eq!(event.sequence, from, "seed {seed}.{life}: the sequences have no gap");
            from = from.next();
            let twice = found.insert(event.event.id().to_owned(), event);
            assert!(twice.is_none(), "seed {seed}.{life}: {twice:?} is there once");
        }
    }
    for (id, (sequence, size)) in &told.acked {
        let stored = found.get(id);
        assert!(stored.is_some(), "seed {seed}.{life}: {id} is lost");
        let stored = stored.unwrap();
        assert_eq!(
            stored.sequence, *sequence,
            "seed {seed}.{life}: {id} is where the receipt says"
        );
        assert_eq!(stored.event.data().unwrap().bytes(), &payload(id, *size)[..]);
        let held = is_held(id) && !id.starts_with("once");
        let why = stored.held.as_ref().map(|hold| hold.reason.to_string());
        assert_eq!(why, held.then(|| format!("{id} is wrong")), "seed {seed}.{life}");
    }
    let mut held: HashMap<Arc<str>, u64> = HashMap::new();
    for event in found.values() {
        *held.entry(event.sender.application.clone().unwrap_or_default()).or_default() += 1;
    }
    let counted = journal.held().into_iter().map(|(name, share)| (name, share.events));
    assert_eq!(
        counted.collect::<HashMap<_, _>>(),
        held,
        "seed {seed}.{life}: each is counted once"
    );
    let open = journal.open_in_session("client");
    for packet_id in told.open.keys() {
        assert!(open.contains(packet_id), "seed {seed}.{life}: handshake {packet_id} is lost");
    }
    for packet_id in &told.released {
        assert!(!open.contains(packet_id), "seed {seed}.{life}: handshake {packet_id} came back");
    }
    store.close().unwrap();
}
