//! Places among the messages under way of an application, which are given in turn: whoever has to
//! wait for one is passed by nobody who comes later.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::tenant::{Quantity, Tenant};

/// Those who wait, in the order in which they get a place.
pub(crate) type Row = VecDeque<Arc<Turn>>;

/// Where somebody stands who takes places one by one.
#[derive(Debug, Default)]
pub struct Turn(Mutex<Step>);

#[derive(Debug, Default)]
enum Step {
    #[default]
    Away,
    /// In the row.
    Waits(Waker),
    /// A place is kept, and counts already.
    IsNext,
}

impl Turn {
    fn step(&self) -> MutexGuard<'_, Step> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the place that is kept, if one is.
    fn take(&self) -> bool {
        let mut step = self.step();
        let is_next = matches!(*step, Step::IsNext);
        if is_next {
            *step = Step::Away;
        }
        is_next
    }

    /// A place is kept from now on.
    fn come(&self) {
        if let Step::Waits(waker) = std::mem::replace(&mut *self.step(), Step::IsNext) {
            waker.wake();
        }
    }

    /// Says whether it has waited before.
    fn wait(&self, waker: &Waker) -> bool {
        let before = std::mem::replace(&mut *self.step(), Step::Waits(waker.clone()));
        matches!(before, Step::Waits(_))
    }
}

impl Tenant {
    /// Takes a place for a message under way, if there is one for which nobody else waits, or if it
    /// `counts_anyway`. Otherwise `turn` gets into the row, and `waker` is woken when a place is
    /// kept for it: that is to be taken then, or passed on.
    #[must_use]
    pub fn take_in_turn(&self, turn: &Arc<Turn>, counts_anyway: bool, waker: &Waker) -> bool {
        let mut row = self.row();
        if turn.take() || (row.is_empty() && self.take(Quantity::InflightMessages)) {
            return true;
        }
        if counts_anyway {
            self.change(Quantity::InflightMessages, 0, 1);
            return true;
        }
        if !turn.wait(waker) {
            row.push_back(Arc::clone(turn));
        }
        false
    }

    /// Passes on a place that is kept for `turn` and of no use to it now.
    pub fn pass_on(&self, turn: &Turn) {
        if turn.take() {
            self.change(Quantity::InflightMessages, 1, 0);
        }
    }

    /// `turn` waits no more.
    pub fn leave_row(&self, turn: &Arc<Turn>) {
        let waited = {
            let mut row = self.row();
            let waited = matches!(*turn.step(), Step::Waits(_));
            if waited {
                row.retain(|one| !Arc::ptr_eq(one, turn));
                *turn.step() = Step::Away;
            }
            waited
        };
        if !waited {
            self.pass_on(turn);
        }
    }

    /// Keeps the places that there are for those who have waited longest.
    pub(crate) fn serve(&self) {
        let mut row = self.row();
        while !row.is_empty() && self.take(Quantity::InflightMessages) {
            if let Some(turn) = row.pop_front() {
                turn.come();
            }
        }
    }

    fn row(&self) -> MutexGuard<'_, Row> {
        self.row.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    const PLACE: Quantity = Quantity::InflightMessages;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A client, and what it is woken by.
    #[derive(Default)]
    struct Client {
        turn: Arc<Turn>,
        bell: Arc<Bell>,
    }

    impl Client {
        fn takes(&self, tenant: &Tenant) -> bool {
            tenant.take_in_turn(&self.turn, false, &Arc::clone(&self.bell).into())
        }

        fn times_woken(&self) -> usize {
            self.bell.0.load(Ordering::Relaxed)
        }
    }

    fn shop(places: u64) -> (Tenant, [Client; 3]) {
        let tenant = Tenant::new("shop");
        tenant.limit(PLACE, Some(places));
        (tenant, Default::default())
    }

    #[test]
    fn places_are_given_in_the_order_of_waiting_and_nobody_is_passed_by() {
        let (tenant, [one, two, three]) = shop(1);
        assert!(one.takes(&tenant));
        assert!(!two.takes(&tenant) && !three.takes(&tenant) && !two.takes(&tenant));
        tenant.change(PLACE, 1, 0);
        assert_eq!((two.times_woken(), three.times_woken()), (1, 0));
        assert!(!one.takes(&tenant), "the place is kept");
        assert!(two.takes(&tenant) && !two.takes(&tenant));
        for next in [&three, &one, &two] {
            tenant.change(PLACE, 1, 0);
            assert!(next.times_woken() > 0 && next.takes(&tenant));
        }
        assert_eq!(tenant.used(PLACE), 1);
    }

    #[test]
    fn a_place_that_is_of_no_use_is_passed_on() {
        let (tenant, [one, two, three]) = shop(1);
        assert!(one.takes(&tenant) && !two.takes(&tenant) && !three.takes(&tenant));
        tenant.change(PLACE, 1, 0);
        tenant.pass_on(&three.turn);
        assert_eq!(three.times_woken(), 0, "none was kept for it");
        tenant.pass_on(&two.turn);
        assert_eq!(three.times_woken(), 1);
        tenant.leave_row(&three.turn);
        assert_eq!(tenant.used(PLACE), 0);
        assert!(one.takes(&tenant));
    }

    #[test]
    fn who_leaves_the_row_is_not_waited_for() {
        let (tenant, [one, two, three]) = shop(1);
        assert!(one.takes(&tenant) && !two.takes(&tenant) && !three.takes(&tenant));
        tenant.leave_row(&two.turn);
        tenant.change(PLACE, 1, 0);
        assert_eq!((two.times_woken(), three.times_woken()), (0, 1));
        assert!(three.takes(&tenant));
    }

    #[test]
    fn a_limit_that_is_raised_or_lifted_is_felt_at_once() {
        let (tenant, [one, two, three]) = shop(1);
        assert!(one.takes(&tenant) && !two.takes(&tenant) && !three.takes(&tenant));
        tenant.limit(PLACE, Some(2));
        assert_eq!((two.times_woken(), three.times_woken()), (1, 0));
        tenant.limit(PLACE, None);
        assert_eq!(three.times_woken(), 1);
        assert!(two.takes(&tenant) && three.takes(&tenant) && one.takes(&tenant));
    }

    #[test]
    fn what_counts_anyway_needs_no_place_and_is_made_up_for() {
        let (tenant, [one, two, _]) = shop(1);
        assert!(one.takes(&tenant));
        assert!(tenant.take_in_turn(&two.turn, true, Waker::noop()));
        assert_eq!(tenant.used(PLACE), 2);
        assert!(!two.takes(&tenant));
        tenant.change(PLACE, 1, 0);
        assert_eq!(two.times_woken(), 0, "the other has the only place");
        tenant.change(PLACE, 1, 0);
        assert_eq!(two.times_woken(), 1);
    }
}
