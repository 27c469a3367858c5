//! Facts about what happens when something comes in between: a restart, a slow disk, an operator.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_while_the_past_is_read_again_loses_none_of_it() {
    let config = StorageConfig { fresh_bytes_max: 1 << 12, ..StorageConfig::default() };
    let mut bench = Bench::with(|_| delivered(), Duration::from_millis(1), config);
    for thousand in 0..10 {
        bench.publish_numbers(thousand * 1000..(thousand + 1) * 1000).await;
    }
    bench.dispatch().create(subscription("s"), Position::Earliest).await.unwrap();
    bench.until_sent("s", 1000).await;
    bench.stop().await;
    bench.start();
    bench
        .until("all is sent", |bench| {
            let view = bench.view("s");
            !view.is_catching_up && view.waiting == 0 && view.in_flight == 0
        })
        .await;
    let sent: std::collections::HashSet<_> = bench.sent("s").into_iter().collect();
    assert_eq!(sent.len(), 10_000);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn references_that_are_not_on_the_disk_yet_are_waited_for() {
    let mut bench = Bench::new(|_| delivered());
    bench.dispatch().create(subscription("s"), Position::Now).await.unwrap();
    assert_waited_for(&bench).await;
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn references_of_which_only_the_first_are_on_the_disk_yet_are_waited_for() {
    let mut bench = Bench::new(|_| delivered());
    bench.dispatch().create(subscription("s"), Position::Now).await.unwrap();
    bench.dispatch().pause("s", "for now").await.unwrap();
    bench.publish_numbers(12_000..12_500).await;
    bench.until("they wait", |bench| bench.view("s").waiting == 500).await;
    bench.dispatch().checkpoint().await.unwrap();
    assert_waited_for(&bench).await;
    bench.stop().await;
}

/// Publishes 12,000 events, and has the references to them written down by a slow disk.
async fn assert_waited_for(bench: &Bench) {
    bench.dispatch().pause("s", "for now").await.unwrap();
    // Whoever holds this stands for a disk that takes its time.
    let slow_disk = bench.dispatch().unsaved.lock().await;
    let count = bench.view("s").waiting + 12_000;
    for thousand in 0..12 {
        bench.publish_numbers(thousand * 1000..(thousand + 1) * 1000).await;
    }
    bench.until("all wait", |bench| bench.view("s").waiting == count).await;
    let mut on_their_way = eg_storage::Changes::default();
    let registered = bench.dispatch().get("s").unwrap();
    registered.lane().save(&mut on_their_way);
    registered.lane().resume();
    registered.wake.notify_one();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.view("s").waiting, count);
    drop(slow_disk);
    let none = eg_storage::Changes::default();
    let keep = |unsaved: &mut eg_storage::Changes| unsaved.append(on_their_way);
    bench.dispatch().persist(keep, none).await.unwrap();
    bench.until("all are delivered", |bench| bench.view("s").delivered == count).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_asked_for_twice_is_delivered_and_holds_up_nothing() {
    let mut bench =
        Bench::new(
            |delivery| if delivery.event.event.id() == "1" { failed(500) } else { delivered() },
        );
    let mut one = subscription("s");
    one.max_in_flight = 1;
    one.retry.max_attempts = 1;
    bench.dispatch().create(one, Position::Now).await.unwrap();
    bench.publish_numbers(0..3).await;
    bench.until("one is dead", |bench| bench.view("s").dead_letters == 1).await;
    bench.until("the others are not", |bench| bench.view("s").delivered == 2).await;
    bench.script(|_| delivered());
    bench.dispatch().pause("s", "for now").await.unwrap();
    bench.dispatch().rewind("s", Position::Sequence(Sequence(1))).await.unwrap();
    assert_eq!(bench.dispatch().requeue("s", &[Sequence(2)]).await.unwrap(), 1);
    bench.dispatch().replay("s", Sequence(3)).await.unwrap();
    bench.dispatch().resume("s").await.unwrap();
    bench.publish_numbers(3..8).await;
    // The two may come once more, since they are both asked for and passed again.
    bench.until("all are delivered again", |bench| bench.view("s").delivered >= 10).await;
    bench.until_sent("s", 3 + 8).await;
    bench.until("the last has come", |bench| bench.sent("s").last().unwrap() == "7").await;
    bench.until("it is settled", |bench| bench.view("s").in_flight == 0).await;
    let view = bench.view("s");
    assert_eq!((view.in_flight, view.waiting, view.retrying), (0, 0, 0));
    assert_eq!(view.dead_letters, 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_holds_from_the_next_event_on_also_after_a_crash() {
    let mut bench = Bench::new(|_| failed(500));
    bench.dispatch().create(of_subject("a"), Position::Now).await.unwrap();
    assert_eq!(bench.publish(&[("1", "a"), ("2", "b")]).await, [1, 0]);
    bench.dispatch().update(of_subject("b")).await.unwrap();
    bench.script(|_| delivered());
    crash(&mut bench).await;
    assert_eq!(bench.publish(&[("3", "b")]).await, [1]);
    bench.until("both are delivered", |bench| bench.view("s").delivered == 2).await;
    let mut sent = bench.sent("s");
    sent.sort();
    assert_eq!(sent, ["1", "3"]);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_delivered_while_a_change_waits_for_the_disk_stays_so_after_a_crash() {
    let (wait, config) = (Duration::from_millis(100), StorageConfig::default());
    let mut bench = Bench::with(|_| delivered(), wait, config);
    bench.dispatch().create(subscription("s"), Position::Now).await.unwrap();
    bench.publish_numbers(0..1).await;
    bench.until("it is under way", |bench| bench.view("s").in_flight == 1).await;
    let mut changed = subscription("s");
    changed.max_in_flight = 7;
    let slow_disk = bench.dispatch().unsaved.lock().await;
    let (written, updated, ()) =
        tokio::join!(bench.dispatch().checkpoint(), bench.dispatch().update(changed), async {
            bench.until("it is delivered", |bench| bench.view("s").delivered == 1).await;
            drop(slow_disk);
        });
    assert!(written.is_ok() && updated.is_ok());
    crash(&mut bench).await;
    let view = bench.view("s");
    assert_eq!((view.delivered, view.waiting, view.retrying, view.in_flight), (1, 0, 0, 0));
    bench.stop().await;
}

/// Subscription `s` to the events of a subject.
fn of_subject(subject: &str) -> Subscription {
    let mut made = subscription("s");
    made.filters = Filter::parse_list(&json!([{"exact": {"subject": subject}}])).unwrap();
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_being_read_again_for_filters_of_before_is_read_anew_for_those_of_now() {
    let mut bench = Bench::new(|_| delivered());
    bench.publish(&[("1", "a"), ("2", "b")]).await;
    bench.until("both are routed", |bench| bench.dispatch().routed() == Sequence(3)).await;
    // Others read the journal again, so that this one waits for its turn.
    let others = bench.dispatch().rescans.acquire_many(2).await.unwrap();
    bench.dispatch().create(of_subject("a"), Position::Earliest).await.unwrap();
    let is_asked_for = |bench: &Bench| {
        let definition = bench.dispatch().get("s").unwrap().definition();
        Arc::strong_count(&definition.subscription) > 1
    };
    bench.until("it waits for its turn", is_asked_for).await;
    bench.dispatch().update(of_subject("b")).await.unwrap();
    bench.dispatch().rewind("s", Position::Earliest).await.unwrap();
    drop(others);
    bench.until("all is read", |bench| !bench.view("s").is_catching_up).await;
    bench.until_sent("s", 1).await;
    assert_eq!(bench.sent("s"), ["2"]);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_asks_for_does_not_wait_for_something_else_when_the_disk_is_slow() {
    let mut bench = Bench::new(|_| delivered());
    bench.dispatch().create(subscription("s"), Position::Now).await.unwrap();
    bench.dispatch().pause("s", "for now").await.unwrap();
    bench.publish_numbers(0..1).await;
    bench.until("it waits", |bench| bench.view("s").waiting == 1).await;
    let slow_disk = bench.dispatch().unsaved.lock().await;
    let (resumed, ()) = tokio::join!(
        bench.dispatch().resume("s"),
        bench.until_sent("s", 1).map(|()| drop(slow_disk))
    );
    assert!(resumed.is_ok());
    bench.until("it is delivered", |bench| bench.view("s").delivered == 1).await;
    let slow_disk = bench.dispatch().unsaved.lock().await;
    let replay = bench.dispatch().replay("s", Sequence::FIRST);
    let (replayed, ()) = tokio::join!(replay, bench.until_sent("s", 2).map(|()| drop(slow_disk)));
    assert!(replayed.is_ok());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_of_before_a_rewind_does_not_stand_for_the_one_after_it() {
    let wait = Duration::from_millis(200);
    let mut bench = Bench::with(|_| delivered(), wait, StorageConfig::default());
    let attempts = Mutex::new(0);
    bench.script(move |_| {
        let mut attempts = attempts.lock().unwrap();
        *attempts += 1;
        if *attempts == 2 { failed(500) } else { delivered() }
    });
    bench.dispatch().create(subscription("s"), Position::Now).await.unwrap();
    bench.publish_numbers(0..1).await;
    bench.until("it is under way", |bench| bench.view("s").in_flight == 1).await;
    bench.dispatch().rewind("s", Position::Earliest).await.unwrap();
    bench.until_sent("s", 3).await;
    bench.until("it is delivered", |bench| bench.view("s").in_flight == 0).await;
    assert_eq!(bench.view("s").retrying, 0);
    bench.stop().await;
}

#[test]
fn what_is_on_its_way_to_the_disk_holds_up_what_is_newer_though_nobody_waits_for_it() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).max_blocking_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut bench = Bench::new(|_| delivered());
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let slow_disk = tokio::task::spawn_blocking(move || wait.recv());
        assert!(bench.dispatch().checkpoint().now_or_never().is_none());
        assert!(bench.dispatch().unsaved.try_lock().is_err());
        drop(go_on);
        assert!(slow_disk.await.is_ok());
        bench.dispatch().checkpoint().await.unwrap();
        bench.stop().await;
    });
}

/// Goes on with what a crash at this instant leaves.
async fn crash(bench: &mut Bench) {
    let left = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(bench.directory.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), left.path().join(file.file_name())).unwrap();
    }
    bench.stop().await;
    bench.directory = left;
    bench.receiver.sent.lock().unwrap().clear();
    bench.start();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_at_the_same_time_all_hold() {
    let mut bench = Bench::new(|_| delivered());
    bench.dispatch().create(subscription("s"), Position::Now).await.unwrap();
    for round in 0..20 {
        let mut changed = subscription("s");
        changed.max_in_flight = 10 + round;
        let dispatch = bench.dispatch();
        let (updated, paused) =
            tokio::join!(dispatch.update(changed), dispatch.pause("s", "for now"));
        assert!(updated.is_ok() && paused.is_ok());
        let definition = dispatch.get("s").unwrap().definition();
        assert_eq!(definition.subscription.max_in_flight, 10 + round);
        assert!(definition.paused.is_some());
        dispatch.resume("s").await.unwrap();
        assert!(dispatch.get("s").unwrap().definition().paused.is_none());
    }
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_of_an_event_that_waits_for_its_key_runs_from_its_own_first_attempt() {
    let mut bench = Bench::new(|_| failed(500));
    let mut ordered = subscription("s");
    ordered.ordering = eg_event::subscription::Ordering::Key;
    ordered.retry.max_attempts = 3;
    ordered.retry.initial_delay_ms = 2800;
    ordered.retry.max_delay_ms = 2800;
    ordered.retry.max_age_s = 4;
    bench.dispatch().create(ordered, Position::Now).await.unwrap();
    bench.publish(&[("1", "k"), ("2", "k")]).await;
    bench.until("both are dead", |bench| bench.view("s").dead_letters == 2).await;
    let attempts = |id: &str| bench.sent("s").iter().filter(|sent| *sent == id).count();
    assert!(attempts("1") > 1 && attempts("2") > 1, "{:?}", bench.sent("s"));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_makes_the_sink_panic_fails_alone() {
    let mut bench = Bench::new(|delivery| {
        assert_ne!(delivery.event.event.id(), "1");
        delivered()
    });
    let mut one = subscription("s");
    one.max_in_flight = 1;
    one.retry.max_attempts = 2;
    bench.dispatch().create(one, Position::Now).await.unwrap();
    bench.publish_numbers(0..4).await;
    bench.until("it is dead", |bench| bench.view("s").dead_letters == 1).await;
    bench.until("the others are delivered", |bench| bench.view("s").delivered == 3).await;
    bench.stop().await;
}
