//! Reads each committed event once and hands references to the lanes that it concerns.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use eg_event::{Sequence, StoredEvent};

use super::{Dispatch, Registered};

/// How many events are routed at once.
const BATCH_EVENTS: usize = 1024;
/// How many bytes of the journal are read at once when the events are no longer in memory.
const BATCH_BYTES: usize = 1 << 20;
/// How long the tailer waits after the journal could not be read.
const READ_RETRY: Duration = Duration::from_secs(1);

/// Follows the journal until the gateway stops.
pub async fn run(dispatch: Arc<Dispatch>) {
    let mut end = dispatch.outlets.journal.follow_end();
    loop {
        let position = dispatch.routed();
        let events = read(&dispatch, position).await;
        if events.is_empty() {
            tokio::select! {
                moved = end.wait_for(|end| *end > position) => if moved.is_err() { return },
                () = dispatch.stop.cancelled() => return,
            }
            continue;
        }
        route(&dispatch, &mut *dispatch.routing.lock().await, &events);
        if dispatch.stop.is_cancelled() {
            return;
        }
    }
}

async fn read(dispatch: &Dispatch, from: Sequence) -> Vec<Arc<StoredEvent>> {
    let journal = &dispatch.outlets.journal;
    if from >= journal.end() {
        return Vec::new();
    }
    if let Some(events) = journal.scan_fresh(from, BATCH_EVENTS) {
        return events;
    }
    let journal = journal.clone();
    let scan = move || journal.scan_all(from, BATCH_EVENTS, BATCH_BYTES);
    match tokio::task::spawn_blocking(scan).await {
        Ok(Ok(events)) => events,
        Ok(Err(error)) => {
            tracing::error!(%error, "the journal cannot be read");
            tokio::time::sleep(READ_RETRY).await;
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}

/// Routes what is in the journal now, for someone who holds `position` to change what comes next;
/// says whether that could be done.
pub(super) async fn catch_up(dispatch: &Dispatch, position: &mut Sequence) -> bool {
    let end = dispatch.outlets.journal.end();
    while *position < end {
        let events = read(dispatch, *position).await;
        if events.is_empty() {
            return false;
        }
        route(dispatch, position, &events);
    }
    true
}

/// Routes a batch from `position` on. Nobody changes the subscriptions meanwhile.
fn route(dispatch: &Dispatch, position: &mut Sequence, events: &[Arc<StoredEvent>]) {
    let Some(last) = events.last() else { return };
    let index = dispatch.index.load_full();
    let mut concerned: HashMap<*const Registered, (&Arc<Registered>, Vec<Sequence>)> =
        HashMap::new();
    let unrouted = events.iter().filter(|event| event.sequence >= *position);
    for event in unrouted {
        if event.held.is_some() {
            dispatch.quarantine.route(event, dispatch.outlets.clock.now());
            continue;
        }
        for registered in index.concerned(&event.event, &event.origin) {
            let entry = concerned.entry(Arc::as_ptr(registered));
            entry.or_insert_with(|| (registered, Vec::new())).1.push(event.sequence);
        }
    }
    for (registered, sequences) in concerned.into_values() {
        registered.lane().push(&sequences);
        registered.wake.notify_one();
    }
    *position = last.sequence.next().max(*position);
    dispatch.routed.store(position.0, Ordering::Release);
}
