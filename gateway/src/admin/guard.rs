//! Stands before every root field of the schema: asks the policy, and keeps the audit log.

use std::net::SocketAddr;
use std::sync::Arc;

use async_graphql::async_trait::async_trait;
use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextResolve, ResolveInfo,
};
use async_graphql::{Error, PathSegment, ServerError, ServerResult, Value};
use eg_auth::policy::{Action, PolicyStore, Request, Resource};
use eg_event::Principal;

use super::error::{forbidden, unaudited};
use super::operations::operation;
use super::shown;
use crate::audit::{Audit, Entry, Outcome};

/// The types whose fields are operations.
const ROOTS: [&str; 3] = ["Query", "Mutation", "Feed"];

/// Who asks; the management port leaves it with every request.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub principal: Arc<Principal>,
    /// From where.
    pub remote: SocketAddr,
}

/// Guards a schema.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Who may do what.
    pub policy: PolicyStore,
    /// Where changes are written down.
    pub audit: Arc<Audit>,
}

impl ExtensionFactory for Guard {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(self.clone())
    }
}

#[async_trait]
impl Extension for Guard {
    async fn resolve(
        &self,
        ctx: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<Value>> {
        // What the schema is like is no secret: it is in the documents.
        if !ROOTS.contains(&info.parent_type) || info.name.starts_with("__") {
            return next.run(ctx, info).await;
        }
        let (name, response_key) = (info.name.to_owned(), info.alias.unwrap_or(info.name));
        let path = vec![PathSegment::Field(response_key.to_owned())];
        let Some(caller) = ctx.data_opt::<Caller>() else {
            return Err(at(path, forbidden("nobody asks")));
        };
        let arguments = shown::arguments(ctx, info.field);
        let entry = Entry {
            operation: &name,
            principal: Some(&caller.principal),
            remote: caller.remote,
            subject: shown::subject(&arguments),
            arguments,
            outcome: Outcome::Done,
        };
        let action = self.admit(&entry).map_err(|error| at(path.clone(), error))?;
        let answer = next.run(ctx, info).await;
        if action == Action::Manage {
            let outcome = answer.as_ref().err().map_or(Outcome::Done, failure);
            let recorded = self.audit.record(&Entry { outcome, ..entry }).await;
            if let Err(why) = recorded {
                tracing::error!(operation = name, %why, "an operation is not in the audit log");
                return answer.and_then(|_| Err(at(path, unaudited(&why))));
            }
        }
        answer
    }
}

impl Guard {
    /// Lets `entry` begin, or puts it down as refused: for operations outside the schema too.
    pub fn admit(&self, entry: &Entry<'_>) -> Result<Action, Error> {
        let refused = match self.check(entry) {
            Ok(action) => return Ok(action),
            Err(why) => why,
        };
        let error = forbidden(&refused);
        self.audit.record_refused(&Entry { outcome: Outcome::Refused(refused), ..entry.clone() });
        Err(error)
    }

    fn check(&self, entry: &Entry<'_>) -> Result<Action, String> {
        let (action, area) = operation(entry.operation).ok_or("nobody may do this")?;
        let principal = entry.principal.ok_or("nobody asks")?;
        let subject = (&**principal).into();
        let request = Request { subject, action, resource: Resource::of(area) };
        let checked = self.policy.load().check(&request);
        checked.map(|()| action).map_err(|why| why.to_string())
    }
}

/// The error of the field at `path`.
fn at(path: Vec<PathSegment>, error: Error) -> ServerError {
    let mut error = error.into_server_error(async_graphql::Pos::default());
    error.locations.clear();
    error.path = path;
    error
}

/// What the log says of an error: its code, for its words may quote what was given.
fn failure(error: &ServerError) -> Outcome {
    let codes = error.extensions.as_ref();
    let code = codes.and_then(|values| values.get("error")).map(ToString::to_string);
    Outcome::Failed(
        code.map_or_else(|| "Error".to_owned(), |code| code.trim_matches('"').to_owned()),
    )
}
