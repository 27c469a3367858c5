//! Whether events are what the documents of their applications say, for every protocol alike.

#[cfg(test)]
mod facts;

use std::sync::Arc;

use eg_event::{
    CloudEvent, Declaration, Deprecation, Hold, InvalidInput, Protocol, Receipt, Refusal,
    Submission,
};

use crate::declared::{Declared, DeclaredStore, Message, Unfit, data_of};
use crate::metrics::Metrics;
use crate::quarantine::{Quarantine, Room};
use crate::specs::definition::PayloadCheck;

/// Lets pass what follows its declaration.
pub struct Validator {
    declared: DeclaredStore,
    quarantine: Arc<Quarantine>,
    metrics: Arc<Metrics>,
}

/// What became of submissions that are not simply let pass.
#[derive(Default)]
pub struct Sifted {
    /// Those that were taken out, each with its place in the list, in order.
    pub refused: Vec<(usize, Refusal)>,
    /// What the senders of the rest are told, each with its place among the rest.
    deprecated: Vec<(usize, Arc<Deprecation>)>,
    /// The room that was taken in the quarantine, likewise.
    held: Vec<(usize, Room)>,
    quarantine: Option<Arc<Quarantine>>,
}

enum Verdict {
    Pass(Option<Arc<Deprecation>>),
    Hold(Box<Hold>, Room, Option<Arc<Deprecation>>),
    Refuse(Refusal),
}

impl Validator {
    /// Asks `declared`, and finds room in `quarantine`.
    #[must_use]
    pub fn new(
        declared: DeclaredStore,
        quarantine: Arc<Quarantine>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { declared, quarantine, metrics }
    }

    /// Takes out what does not follow its declaration, and marks what is to be kept aside. Each
    /// event is judged by one and the same version of everything.
    pub fn sift(&self, submissions: &mut Vec<Submission>) -> Sifted {
        let declared = self.declared.load();
        let mut sifted = Sifted::default();
        if declared.is_empty() && submissions.iter().all(|one| one.declaration.is_none()) {
            return sifted;
        }
        let (mut place, mut kept) = (0, 0);
        submissions.retain_mut(|submission| {
            let verdict = self.judge(&declared, submission);
            place += 1;
            let deprecation = match verdict {
                Verdict::Refuse(refusal) => {
                    sifted.refused.push((place - 1, refusal));
                    return false;
                }
                Verdict::Hold(hold, room, deprecation) => {
                    submission.held = Some(hold);
                    sifted.held.push((kept, room));
                    sifted.quarantine.get_or_insert_with(|| Arc::clone(&self.quarantine));
                    deprecation
                }
                Verdict::Pass(deprecation) => deprecation,
            };
            sifted.deprecated.extend(deprecation.map(|told| (kept, told)));
            kept += 1;
            true
        });
        sifted
    }

    fn judge(&self, declared: &Declared, submission: &Submission) -> Verdict {
        let Submission { event, principal, origin, .. } = submission;
        let found = submission.declaration.as_ref().and_then(Declaration::get::<Message>);
        let candidates = match &found {
            Some(message) => std::slice::from_ref(message),
            None => candidates(declared, submission),
        };
        let data = data_of(event);
        let mut refused = None;
        let mut unfit: Option<(&Message, Unfit)> = None;
        for message in candidates {
            if let Err(refusal) = message.check_access(principal, origin.protocol) {
                refused.get_or_insert(refusal);
                continue;
            }
            match message.check_event(event, &data) {
                Ok(()) => return Verdict::Pass(message.deprecation().map(Arc::clone)),
                Err(wrong)
                    if unfit.as_ref().is_none_or(|(_, known)| wrong.is_closer_than(known)) =>
                {
                    unfit = Some((message, wrong));
                }
                Err(_) => {}
            }
        }
        match (unfit, refused) {
            (Some((message, unfit)), _) => self.treat(message, unfit.wrong, event),
            (None, Some(refusal)) => Verdict::Refuse(refusal),
            (None, None) => Verdict::Pass(None),
        }
    }

    /// What becomes of an event that `message` should be and that is not what it says.
    fn treat(&self, message: &Message, wrong: InvalidInput, event: &CloudEvent) -> Verdict {
        let (application, definition) = (message.application(), message.definition());
        let count = |outcome| self.metrics.violation(application, definition, outcome);
        let deprecation = message.deprecation().map(Arc::clone);
        match message.payload_check() {
            PayloadCheck::Off => Verdict::Pass(deprecation),
            PayloadCheck::Warn => {
                count("warned");
                let (source, id) = (event.source(), event.id());
                tracing::warn!(%wrong, source, id, "an event does not follow its declaration");
                Verdict::Pass(deprecation)
            }
            PayloadCheck::Quarantine => {
                let reason = wrong.to_string().into();
                let hold = Box::new(Hold {
                    application: application.into(),
                    definition: definition.into(),
                    reason,
                });
                if let Some(room) = self.quarantine.reserve(event, &hold) {
                    count("quarantined");
                    return Verdict::Hold(hold, room, deprecation);
                }
                count("rejected");
                let detail = format!("{}; the quarantine is full", wrong.detail);
                Verdict::Refuse(InvalidInput { detail, ..wrong }.into())
            }
            PayloadCheck::Reject => {
                count("rejected");
                Verdict::Refuse(wrong.into())
            }
        }
    }
}

impl Sifted {
    /// Whether room was taken in the quarantine, which is given back once the events are answered.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Tells what there is to tell with `answers` to the rest, and gives back room that is not used.
    pub fn settle(&mut self, answers: &mut [Result<Receipt, Refusal>]) {
        for (place, deprecation) in self.deprecated.drain(..) {
            if let Some(Ok(receipt)) = answers.get_mut(place) {
                receipt.deprecation = Some(deprecation);
            }
        }
        let Some(quarantine) = &self.quarantine else { return };
        for (place, room) in self.held.drain(..) {
            let is_stored = matches!(answers.get(place), Some(Ok(receipt)) if !receipt.duplicate);
            if !is_stored {
                quarantine.give_back(room);
            }
        }
    }
}

/// What an event may be: by the application that sends it, or else by the one whose source it has.
fn candidates<'a>(declared: &'a Declared, submission: &Submission) -> &'a [Arc<Message>] {
    let Submission { event, principal, origin, .. } = submission;
    let by_path = submission.path_application();
    let sender = by_path.or_else(|| principal.application());
    let found = sender.map_or(&[][..], |name| declared.messages(name, event.ty()));
    if !found.is_empty() || origin.protocol == Protocol::Internal {
        return found;
    }
    let path = event.source().strip_prefix('/').unwrap_or_else(|| event.source());
    let of_source = path.split(['/', '?', '#']).next().unwrap_or_default();
    declared.messages(of_source, event.ty())
}
